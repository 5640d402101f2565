-- The reference worker: one row per job with its attempt in it, and one quota per number. No indexed column changes, so updates stay in
-- their page.
create table worker_dispatch (
    id         uuid primary key,
    number     text not null,
    expires_at timestamptz not null,
    state      text not null,
    claim      uuid,
    begun_at   timestamptz not null,
    reference  text,
    sent_at    timestamptz
) with (fillfactor = 50);

create table worker_quota (
    number     text primary key,
    slots      timestamptz[] not null
) with (fillfactor = 80);
