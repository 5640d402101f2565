-- What the ledger wrote and deleted for dispatches that are final: for each group a timer for the lease of its attempts, a timer for its
-- receipts, and a row of events. Run under an open snapshot, so that the deleted rows and their index entries stay. The times reach from
-- some minutes ago to some minutes ahead, so the scans that follow pass such entries. Nothing reads the arrays, so all rows have the same
-- ones.
insert into timer (due_at, id, fresh, uids)
select now() + interval '5 minutes' - (:groups - g) * interval '20 ms' + wait, gen_random_uuid(), false,
       (select array_agg(gen_random_uuid()) from generate_series(1, :size))
  from generate_series(1, :groups) g, (values (interval '0 seconds'), (interval '10 seconds')) w(wait);
delete from timer;
insert into outbox (id, receiver, due_at, created_at, uids, events)
select gen_random_uuid(), 'broker', now() + interval '5 minutes' - (:groups - g) * interval '20 ms', now(),
       (select array_agg(gen_random_uuid()) from generate_series(1, :size)),
       (select array_agg(repeat(md5(n::text), 12)) from generate_series(1, :size) n)
  from generate_series(1, :groups) g;
delete from outbox;
