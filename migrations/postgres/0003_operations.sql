-- What operators see and do. Nothing here decides what happens to a dispatch that is under way.

-- Deliveries by interval, channel, carrier, country and tenant. An attempt counts in the interval in which it began, and so does
-- all that happens to it later. After an hour, intervals are merged to longer ones.
create table delivery_count (
    started_at        timestamptz not null,
    width_s           integer not null,
    channel           text not null,
    carrier           text not null,
    country           text not null,
    tenant            text not null,
    attempts          bigint not null,               -- answered, or without an answer in time
    accepted          bigint not null,
    unknown           bigint not null,
    undelivered       bigint not null,               -- a receipt says so
    receipt_60s       bigint not null,               -- a final receipt within this time after the begin
    verified          bigint not null,               -- the sender reported that the code was entered
    verified_5min     bigint not null,
    segments          bigint not null,
    delivered_1s      bigint not null,               -- delivered within this time after the begin, but not within the one before
    delivered_2s      bigint not null,
    delivered_5s      bigint not null,
    delivered_10s     bigint not null,
    delivered_20s     bigint not null,
    delivered_30s     bigint not null,
    delivered_60s     bigint not null,
    delivered_2min    bigint not null,
    delivered_5min    bigint not null,
    delivered_later   bigint not null,
    primary key (started_at, width_s, channel, carrier, country, tenant)
);

-- What each process says of itself: its roles, circuit breakers, connections.
create table process_report (
    name              text primary key,
    seen_at           timestamptz not null,
    report            text not null                  -- JSON
);

-- Carriers that no worker may use.
create table carrier_pause (
    carrier           text primary key,
    reason            text not null,
    paused_by         text not null,
    paused_at         timestamptz not null,
    until             timestamptz                    -- null: until it is resumed
);

-- When an operator asked for the next request to a carrier to be let through, whatever its circuit breaker says.
create table carrier_probe (
    carrier           text primary key,
    probe_at          timestamptz not null
);

-- Numbers that get nothing.
create table block (
    kind              text not null,                 -- number, prefix or country
    value             text not null,                 -- of a number: its keyed hash
    shown             text not null,                 -- as people may see it
    reason            text not null,
    blocked_by        text not null,
    blocked_at        timestamptz not null,
    until             timestamptz,                   -- null: until it is removed
    primary key (kind, value)
);

-- Changes with each pause, probe and block. Each process reads it once a second, and the tables only when it has changed.
create table restriction (
    id                integer primary key check (id = 1),
    revision          uuid not null
);
insert into restriction values (1, '00000000-0000-0000-0000-000000000000');

-- What operators did.
create table audit (
    id                uuid primary key,              -- version 7: sorted by time
    at                timestamptz not null,
    who               text not null,                 -- the id of an API key
    act               text not null,
    subject           text not null,                 -- never a whole number
    reason            text
);

-- For a search by number. On a large table, create it before the migration with `create index concurrently`, which blocks no writes.
create index if not exists dispatch_number on dispatch (number_key);
