-- The simple worker: one row per job.
create table worker_dispatch (
    id         uuid primary key,
    number     text not null,
    expires_at timestamptz not null,
    claim      uuid not null,
    state      text not null,
    reference  text,
    claimed_at timestamptz not null,
    sent_at    timestamptz
) with (fillfactor = 90);
