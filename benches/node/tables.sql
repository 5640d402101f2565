-- The Node worker: one row per job.
create table node_job (
    id         uuid primary key,
    number     text not null,
    expires_at timestamptz not null,
    state      text not null,
    reference  text,
    claimed_at timestamptz not null,
    sent_at    timestamptz
) with (fillfactor = 90);
