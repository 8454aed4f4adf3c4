"""The demonstration: four years of an exchange as files, and the main job done on them from beginning to end."""
