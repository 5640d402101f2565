-- What the ledger wrote and deleted for dispatches that are final: for each group a timer for the lease of its attempts, a timer for its
-- receipts, and an event. Run under an open snapshot, so that the deleted rows and their index entries stay. Nothing reads the arrays,
-- so all rows have the same ones.
insert into timer
select now() - interval '1 hour' - (:groups - g) * interval '20 ms' + wait, gen_random_uuid(), false,
       (select array_agg(gen_random_uuid()) from generate_series(1, :size))
  from generate_series(1, :groups) g, (values (interval '15 seconds'), (interval '25 minutes')) w(wait);
delete from timer;
insert into outbox
select gen_random_uuid(), now() - interval '1 hour' - (:groups - g) * interval '20 ms',
       (select array_agg(gen_random_uuid()) from generate_series(1, :size)),
       (select array_agg(repeat(md5(n::text), 12)) from generate_series(1, :size) n)
  from generate_series(1, :groups) g;
delete from outbox;
