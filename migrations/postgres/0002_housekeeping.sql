-- The worker that deletes old rows. One does it at a time, so that no two wait for each other's locks.
create table housekeeping (
    id                integer primary key check (id = 1),
    worker            text not null,
    until             timestamptz not null           -- when another worker may take over
);
