-- The worker that deletes old rows. Only one process uses the file, so the table stays empty.
create table housekeeping (
    id               integer primary key check (id = 1),
    worker           text not null,
    until            integer not null
);
