-- A pause of a carrier may be for one country. An older process takes such a pause for one everywhere.
-- The table is built again, because SQLite cannot change a primary key.
create table carrier_pause_by_country (
    carrier           text not null,
    reason            text not null,
    paused_by         text not null,
    paused_at         integer not null,
    until             integer,                       -- null: until it is resumed
    country           text not null default '',      -- ISO 3166; empty: everywhere
    primary key (carrier, country)
);
insert into carrier_pause_by_country (carrier, reason, paused_by, paused_at, until)
    select carrier, reason, paused_by, paused_at, until from carrier_pause;
drop table carrier_pause;
alter table carrier_pause_by_country rename to carrier_pause;
