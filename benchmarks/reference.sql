-- What pgbench runs: the same rows as the journal writes for a taken listing, all indexes and triggers in place, in PL/pgSQL.
-- The set-wise one is the yardstick: nothing that answers each trade on its own can be expected to beat it.
-- Expects the database that benchmarks/trades.py seeds: listings by the serial number of their owner in bench_seller.

CREATE SEQUENCE bench_run;

-- n trades: load what is needed, take positions from the head, write all rows, sum the rollups.
CREATE FUNCTION post_trades(n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE base bigint; run text := nextval('bench_run')::text; known int; total bigint; at timestamptz; today date;
BEGIN
  CREATE TEMP TABLE IF NOT EXISTS w (i int, pos bigint, buyer bigint, buyer_key bigint, buyer_person bigint, seller bigint, listing bigint,
    product bigint, version bigint, net bigint, vat bigint, gross bigint, sector text, kind text, region text, contract text, number text,
    key text, salt text, nb bytea, ns bytea, eb bigint, es bigint) ON COMMIT DELETE ROWS;
  PERFORM 1 FROM head WHERE id = 1 FOR NO KEY UPDATE;
  SELECT position INTO base FROM head WHERE id = 1;
  at := clock_timestamp(); today := (at AT TIME ZONE 'Asia/Shanghai')::date;
  INSERT INTO w
    SELECT x.i, base + x.i, b.member_id, b.key_id, b.person_id, s.member_id, l.id, l.product_id, l.version_id, 100000, 6000, 106000,
        v.sector, p.kind, mb.region_code, encode(sha256((run || '-' || x.i)::bytea), 'hex'), 'trd_' || lpad((base + x.i)::text, 12, '0'),
        run || '-' || x.i, encode(substr(sha256((run || x.i)::bytea), 1, 16), 'hex'),
        substr(sha256((x.i || run)::bytea), 1, 16), substr(sha256((x.i || 's' || run)::bytea), 1, 16),
        cb.events + row_number() OVER (PARTITION BY b.member_id ORDER BY x.i), 0
      FROM (SELECT i, 1 + (random() * 199)::int AS bn, 201 + (random() * 199)::int AS sn FROM generate_series(1, n) i) x
      JOIN bench_member b ON b.n = x.bn JOIN bench_member s ON s.n = x.sn
      JOIN api_key k ON k.id = b.key_id AND k.state = 'active'
      JOIN company c ON c.uscc = k.uscc
      JOIN listing l ON l.id = s.listing_id AND l.state = 'listed'
      JOIN member mb ON mb.id = b.member_id AND mb.state = 'active' JOIN member ms ON ms.id = l.owner_id AND ms.state = 'active'
      JOIN product_version v ON v.id = l.version_id JOIN data_product p ON p.id = l.product_id
      JOIN party_counter cb ON cb.member_id = b.member_id;
  UPDATE w SET es = z.e FROM (SELECT w.i, c.events + row_number() OVER (PARTITION BY w.seller ORDER BY w.i) AS e
      FROM w JOIN party_counter c ON c.member_id = w.seller) z WHERE z.i = w.i;
  SELECT count(*) INTO known FROM w JOIN contract c ON c.seller_id = w.seller AND c.buyer_id = w.buyer AND c.number = w.number AND c.sha256 = w.contract;
  SELECT count(*) + known INTO known FROM w JOIN idempotency i ON i.holder = 'company:' || w.buyer AND i.key = w.key;
  SELECT sum(gross) INTO total FROM w;
  INSERT INTO trade (id, state, mode, venue, proposer, buyer_id, seller_id, listing_id, product_id, version_id, purpose, quantity,
      contract_number, contract_sha256, net, vat, gross, acceptance_window_days, evidence, proposed_on, effective_on, confirmed, sector, kind,
      region, related, late, changed_at)
    SELECT pos, 'contracted', 'listed', 'on_exchange', 'buyer', buyer, seller, listing, product, version, 'credit risk model', 1,
      number, contract, net, vat, gross, 0, '[]', today, today, true, sector, kind, region, false, false, pos FROM w;
  INSERT INTO contract SELECT seller, buyer, number, contract, pos FROM w;
  INSERT INTO entry SELECT pos, 'contract', pos FROM w;
  INSERT INTO transfer SELECT pos, 1, buyer * 16, seller * 16 + 1, gross, today FROM w;
  INSERT INTO volume_entry SELECT pos, 1, 'contracted', 'counted', pos, buyer, seller, product, today, today, gross, net, sector, kind, region,
      'on_exchange', 'listed', false FROM w;
  INSERT INTO party_event SELECT buyer, eb, pos, nb FROM w UNION ALL SELECT seller, es, pos, ns FROM w;
  INSERT INTO idempotency SELECT 'company:' || buyer, key, sha256(contract::bytea), 201,
      format('{"id":"%s","late":false,"position":%s,"recorded_at":"%s","related":false,"state":"contracted"}', number, pos, at), pos FROM w;
  INSERT INTO event SELECT pos, 'trade.contracted', leaf, sha256('\x00'::bytea || leaf::bytea) FROM (SELECT pos, format(
      '{"acting_member":%1$s,"actor":%2$s,"facts":{"steps":["propose","confirm","contract"]},"key_id":%3$s,"kind":"trade.contracted","parties":["%4$s","%5$s"],"position":%6$s,"recorded_at":"%7$s","request_id":"%8$s","rows":[["trade",{"acceptance_window_days":0,"buyer_id":%1$s,"changed_at":%6$s,"confirmed":1,"contract_number":"%9$s","contract_sha256":"%10$s","effective_on":"%11$s","evidence":[],"gross":"%12$s","id":%6$s,"kind":"%13$s","late":0,"listing_id":%14$s,"mode":"listed","net":"%15$s","product_id":%16$s,"proposed_on":"%11$s","proposer":"buyer","purpose":"credit risk model","quantity":1,"region":"%17$s","related":0,"sector":"%18$s","seller_id":%19$s,"state":"contracted","vat":"%20$s","venue":"on_exchange","version_id":%21$s}],["contract",{"buyer_id":%1$s,"number":"%9$s","seller_id":%19$s,"sha256":"%10$s","trade_id":%6$s}],["entry",{"kind":"contract","position":%6$s,"trade_id":%6$s}],["transfer",{"amount":"%12$s","credit_account_id":%22$s,"debit_account_id":%23$s,"effective_on":"%11$s","number":1,"position":%6$s}],["volume_entry",{"buyer_id":%1$s,"effective_on":"%11$s","gross":"%12$s","kind":"%13$s","measure":"contracted","mode":"listed","movement":"counted","net_excluding_vat":"%15$s","number":1,"position":%6$s,"product_id":%16$s,"recorded_on":"%11$s","region":"%17$s","related":0,"sector":"%18$s","seller_id":%19$s,"trade_id":%6$s,"venue":"on_exchange"}]],"salt":"%24$s","v":1}',
      buyer, buyer_person, buyer_key, encode(sha256(nb || int8send(buyer) || int8send(eb)), 'hex'),
      encode(sha256(ns || int8send(seller) || int8send(es)), 'hex'), pos, at, salt, number, contract, today, gross, kind, listing, net, product,
      region, sector, seller, vat, version, seller * 16 + 1, buyer * 16, salt) AS leaf FROM w) z;
  UPDATE account a SET debits_posted = a.debits_posted + s.d, credits_posted = a.credits_posted + s.c FROM (
      SELECT id, sum(d) d, sum(c) c FROM (SELECT buyer * 16 id, gross d, 0::bigint c FROM w UNION ALL SELECT seller * 16 + 1, 0, gross FROM w) q
      GROUP BY id ORDER BY id) s WHERE s.id = a.id;
  UPDATE party_counter p SET events = p.events + s.e FROM (SELECT id, count(*) e FROM (SELECT buyer id FROM w UNION ALL SELECT seller FROM w) q
      GROUP BY id ORDER BY id) s WHERE s.id = p.member_id;
  INSERT INTO rollup SELECT 'contracted', dim, val, today, today, sum(gross), 0, sum(net), count(*) FROM (
      SELECT 'total' dim, '' val, gross, net FROM w UNION ALL SELECT 'venue', 'on_exchange', gross, net FROM w
      UNION ALL SELECT 'cube', sector || '|' || kind || '|' || left(region, 2) || '|on_exchange|listed|unrelated', gross, net FROM w) q
    GROUP BY 2, 3 ORDER BY 2, 3
    ON CONFLICT (measure, dimension, value, effective_on, recorded_on) DO UPDATE SET gross = rollup.gross + excluded.gross,
      net_excluding_vat = rollup.net_excluding_vat + excluded.net_excluding_vat, trades = rollup.trades + excluded.trades;
  INSERT INTO monthly_rollup SELECT 'contracted', dim, val, date_trunc('month', today), date_trunc('month', today), sum(gross), 0, sum(net), count(*)
    FROM (SELECT 'total' dim, '' val, gross, net FROM w UNION ALL SELECT 'venue', 'on_exchange', gross, net FROM w
      UNION ALL SELECT 'cube', sector || '|' || kind || '|' || left(region, 2) || '|on_exchange|listed|unrelated', gross, net FROM w
      UNION ALL SELECT 'buyer', buyer::text, gross, net FROM w UNION ALL SELECT 'seller', seller::text, gross, net FROM w
      UNION ALL SELECT 'product', product::text, gross, net FROM w) q GROUP BY 2, 3 ORDER BY 2, 3
    ON CONFLICT (measure, dimension, value, effective_in, recorded_in) DO UPDATE SET gross = monthly_rollup.gross + excluded.gross,
      net_excluding_vat = monthly_rollup.net_excluding_vat + excluded.net_excluding_vat, trades = monthly_rollup.trades + excluded.trades;
  INSERT INTO batch SELECT base + 1, base + n, greatest(at, recorded_at + interval '1 microsecond'), contracted_gross + total, contracted_reversed FROM head;
  UPDATE head SET position = base + n, recorded_at = greatest(at, recorded_at + interval '1 microsecond'), contracted_gross = contracted_gross + total WHERE id = 1;
  RETURN base + n;
END $$;
