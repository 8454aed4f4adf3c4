"""The one writer: every change of business state is a command, decided here in order, and committed in batches."""
