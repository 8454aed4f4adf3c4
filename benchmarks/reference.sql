-- What pgbench runs: the rows that the journal writes for taken listings, with all indexes and triggers in place, by one set-wise statement.
-- The yardstick: nothing that answers each trade on its own can be expected to beat it. `faithful.py` holds it to the rows that
-- one trade over HTTP writes, and the invariants are checked on what it wrote.
-- Expects the members that `market.py` seeds: buyers 1 to 200 with keys, sellers 201 to 400 with a listing each.

CREATE SEQUENCE bench_run;

-- n trades in one transaction: lock the head, read what they touch, write all rows, sum the rollups. Returns the new position.
CREATE FUNCTION post_trades(n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE base bigint; at timestamptz; today date; told text; run text := 'order-' || lpad(nextval('bench_run')::text, 12, '0') || '-';
BEGIN
  SELECT position, greatest(clock_timestamp(), recorded_at + interval '1 microsecond') INTO base, at
    FROM head WHERE id = 1 FOR NO KEY UPDATE;
  today := (at AT TIME ZONE 'Asia/Shanghai')::date;
  told := to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
  WITH picked AS MATERIALIZED (
    SELECT i, base + i AS pos, 1 + floor(random() * 200)::int AS buyer_n, 201 + floor(random() * 200)::int AS seller_n,
      run || i AS key, 'trd_' || lpad((base + i)::text, 12, '0') AS number
    FROM generate_series(1, n) i
  ), w AS MATERIALIZED (
    SELECT x.pos, x.key, x.number, mb.id AS buyer, ms.id AS seller, 'company:' || c.uscc AS holder, k.id AS key_id, k.person_id,
      l.id AS listing, l.product_id AS product, l.version_id AS version, l.price AS gross, l.price - 6000 AS net, 6000::bigint AS vat,
      v.sector, p.kind, mb.region_code AS region, encode(sha256(x.key::bytea), 'hex') AS contract,
      encode(substr(sha256(('salt' || x.key)::bytea), 1, 16), 'hex') AS salt,
      substr(sha256(('buyer' || x.key)::bytea), 1, 16) AS buyer_nonce, substr(sha256(('seller' || x.key)::bytea), 1, 16) AS seller_nonce,
      cb.events + row_number() OVER (PARTITION BY mb.id ORDER BY x.i) AS buyer_number,
      cs.events + row_number() OVER (PARTITION BY ms.id ORDER BY x.i) AS seller_number
    FROM picked x
      JOIN bench_member b ON b.n = x.buyer_n JOIN bench_member s ON s.n = x.seller_n
      JOIN api_key k ON k.id = b.key_id AND k.state = 'active' JOIN company c ON c.uscc = k.uscc
      JOIN listing l ON l.id = s.listing_id AND l.state = 'listed'
      JOIN member mb ON mb.id = c.member_id AND mb.state = 'active' JOIN member ms ON ms.id = l.owner_id AND ms.state = 'active'
      JOIN product_version v ON v.id = l.version_id JOIN data_product p ON p.id = l.product_id
      JOIN account ab ON ab.id = mb.id * 16 JOIN account as_ ON as_.id = ms.id * 16 + 1
      JOIN party_counter cb ON cb.member_id = mb.id JOIN party_counter cs ON cs.member_id = ms.id
    WHERE NOT EXISTS (SELECT 1 FROM idempotency i WHERE i.holder = 'company:' || c.uscc AND i.key = x.key)
      AND NOT EXISTS (SELECT 1 FROM contract t WHERE t.seller_id = ms.id AND t.buyer_id = mb.id AND t.number = x.number
        AND t.sha256 = encode(sha256(x.key::bytea), 'hex'))
  ), trades AS (
    INSERT INTO trade (id, state, mode, venue, proposer, buyer_id, seller_id, listing_id, product_id, version_id, purpose, quantity,
      contract_number, contract_sha256, net, vat, gross, acceptance_window_days, evidence, proposed_on, effective_on, confirmed, sector, kind,
      region, related, late, changed_at)
    SELECT pos, 'contracted', 'listed', 'on_exchange', 'buyer', buyer, seller, listing, product, version, 'credit risk model', 1,
      number, contract, net, vat, gross, 0, '[]', today, today, true, sector, kind, region, false, false, pos FROM w
  ), contracts AS (
    INSERT INTO contract (seller_id, buyer_id, number, sha256, trade_id) SELECT seller, buyer, number, contract, pos FROM w
  ), entries AS (
    INSERT INTO entry (position, kind, trade_id) SELECT pos, 'contract', pos FROM w
  ), transfers AS (
    INSERT INTO transfer (position, number, debit_account_id, credit_account_id, amount, effective_on)
    SELECT pos, 1, buyer * 16, seller * 16 + 1, gross, today FROM w
  ), volumes AS (
    INSERT INTO volume_entry (position, number, measure, movement, trade_id, buyer_id, seller_id, product_id, effective_on, recorded_on,
      gross, net_excluding_vat, sector, kind, region, venue, mode, related)
    SELECT pos, 1, 'contracted', 'counted', pos, buyer, seller, product, today, today, gross, net, sector, kind, region, 'on_exchange',
      'listed', false FROM w
  ), parties AS (
    INSERT INTO party_event (member_id, number, position, nonce)
    SELECT buyer, buyer_number, pos, buyer_nonce FROM w UNION ALL SELECT seller, seller_number, pos, seller_nonce FROM w
  ), answers AS (
    INSERT INTO idempotency (holder, key, request_sha256, status, answer, position)
    SELECT holder, key, sha256(contract::bytea), 201,
      format('{"id":"%s","late":false,"position":%s,"recorded_at":"%s","related":false,"state":"contracted"}', number, pos, told), pos FROM w
  ), events AS (
    INSERT INTO event (position, kind, subject, person_id, leaf, leaf_sha256)
    SELECT pos, 'trade.contracted', number, person_id, leaf, sha256('\x00'::bytea || leaf::bytea) FROM (
      SELECT pos, number, person_id, format(
        '{"acting_member":%1$s,"actor":%2$s,"facts":{"steps":["propose","confirm","contract"]},"key_id":%3$s,"kind":"trade.contracted","parties":["%4$s","%5$s"],"position":%6$s,"recorded_at":"%7$s","request_id":"%8$s","rows":[["trade",{"acceptance_window_days":0,"buyer_id":%1$s,"changed_at":%6$s,"confirmed":1,"contract_number":"%9$s","contract_sha256":"%10$s","effective_on":"%11$s","evidence":[],"gross":"%12$s","id":%6$s,"kind":"%13$s","late":0,"listing_id":%14$s,"mode":"listed","net":"%15$s","product_id":%16$s,"proposed_on":"%11$s","proposer":"buyer","purpose":"credit risk model","quantity":1,"region":"%17$s","related":0,"sector":"%18$s","seller_id":%19$s,"state":"contracted","vat":"%20$s","venue":"on_exchange","version_id":%21$s}],["contract",{"buyer_id":%1$s,"number":"%9$s","seller_id":%19$s,"sha256":"%10$s","trade_id":%6$s}],["entry",{"kind":"contract","position":%6$s,"trade_id":%6$s}],["transfer",{"amount":"%12$s","credit_account_id":%22$s,"debit_account_id":%23$s,"effective_on":"%11$s","number":1,"position":%6$s}],["volume_entry",{"buyer_id":%1$s,"effective_on":"%11$s","gross":"%12$s","kind":"%13$s","measure":"contracted","mode":"listed","movement":"counted","net_excluding_vat":"%15$s","number":1,"position":%6$s,"product_id":%16$s,"recorded_on":"%11$s","region":"%17$s","related":0,"sector":"%18$s","seller_id":%19$s,"trade_id":%6$s,"venue":"on_exchange"}]],"salt":"%24$s","v":1}',
        buyer, person_id, key_id, encode(sha256(buyer_nonce || int8send(buyer) || int8send(buyer_number)), 'hex'),
        encode(sha256(seller_nonce || int8send(seller) || int8send(seller_number)), 'hex'), pos, told, salt, number, contract, today, gross,
        kind, listing, net, product, region, sector, seller, vat, version, seller * 16 + 1, buyer * 16, salt) AS leaf FROM w) written
  ), debits AS (
    UPDATE account held SET debits_posted = held.debits_posted + new.amount
    FROM (SELECT buyer * 16 AS id, sum(gross) AS amount FROM w GROUP BY buyer) new WHERE held.id = new.id
  ), credits AS (
    UPDATE account held SET credits_posted = held.credits_posted + new.amount
    FROM (SELECT seller * 16 + 1 AS id, sum(gross) AS amount FROM w GROUP BY seller) new WHERE held.id = new.id
  ), counters AS (
    UPDATE party_counter held SET events = new.events
    FROM (SELECT buyer AS id, max(buyer_number) AS events FROM w GROUP BY buyer
      UNION ALL SELECT seller, max(seller_number) FROM w GROUP BY seller) new WHERE held.member_id = new.id
  ), sums AS MATERIALIZED (
    SELECT dimension, value, sum(gross) AS gross, sum(net) AS net, count(*) AS trades FROM (
      SELECT 'total' AS dimension, '' AS value, gross, net FROM w UNION ALL SELECT 'venue', 'on_exchange', gross, net FROM w
      UNION ALL SELECT 'cube', concat_ws('|', sector, kind, left(region, 2), 'on_exchange', 'listed', 'unrelated'), gross, net FROM w
      UNION ALL SELECT 'buyer', buyer::text, gross, net FROM w UNION ALL SELECT 'seller', seller::text, gross, net FROM w
      UNION ALL SELECT 'product', product::text, gross, net FROM w) places GROUP BY dimension, value
  ), rollups AS (
    INSERT INTO rollup (measure, dimension, value, effective_on, recorded_on, gross, reversed, net_excluding_vat, trades)
    SELECT 'contracted', dimension, value, today, today, gross, 0, net, trades FROM sums WHERE dimension IN ('total', 'venue', 'cube')
    ON CONFLICT (measure, dimension, value, effective_on, recorded_on) DO UPDATE SET gross = rollup.gross + excluded.gross,
      net_excluding_vat = rollup.net_excluding_vat + excluded.net_excluding_vat, trades = rollup.trades + excluded.trades
  ), months AS (
    INSERT INTO monthly_rollup (measure, dimension, value, effective_in, recorded_in, gross, reversed, net_excluding_vat, trades)
    SELECT 'contracted', dimension, value, date_trunc('month', today), date_trunc('month', today), gross, 0, net, trades FROM sums
    ON CONFLICT (measure, dimension, value, effective_in, recorded_in) DO UPDATE SET gross = monthly_rollup.gross + excluded.gross,
      net_excluding_vat = monthly_rollup.net_excluding_vat + excluded.net_excluding_vat, trades = monthly_rollup.trades + excluded.trades
  ), moved AS (
    UPDATE head SET position = base + n, recorded_at = at,
      contracted_gross = contracted_gross + (SELECT gross FROM sums WHERE dimension = 'total') WHERE id = 1
    RETURNING contracted_gross, contracted_reversed
  )
  INSERT INTO batch (first, last, recorded_at, contracted_gross, contracted_reversed)
    SELECT base + 1, base + n, at, contracted_gross, contracted_reversed FROM moved;
  RETURN base + n;
END $$;
