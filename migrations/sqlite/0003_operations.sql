-- What operators see and do. Nothing here decides what happens to a dispatch that is under way.

-- Deliveries by interval, channel, carrier, country and tenant. An attempt counts in the interval in which it began, and so does
-- all that happens to it later. After an hour, intervals are merged to longer ones.
create table delivery_count (
    started_at        integer not null,
    width_s           integer not null,
    channel           text not null,
    carrier           text not null,
    country           text not null,
    tenant            text not null,
    attempts          integer not null,               -- answered, or without an answer in time
    accepted          integer not null,
    unknown           integer not null,
    undelivered       integer not null,               -- a receipt says so
    receipt_60s       integer not null,               -- a final receipt within this time after the begin
    verified          integer not null,               -- the sender reported that the code was entered
    verified_5min     integer not null,
    segments          integer not null,
    delivered_1s      integer not null,               -- delivered within this time after the begin, but not within the one before
    delivered_2s      integer not null,
    delivered_5s      integer not null,
    delivered_10s     integer not null,
    delivered_20s     integer not null,
    delivered_30s     integer not null,
    delivered_60s     integer not null,
    delivered_2min    integer not null,
    delivered_5min    integer not null,
    delivered_later   integer not null,
    primary key (started_at, width_s, channel, carrier, country, tenant)
);

-- What each process says of itself: its roles, circuit breakers, connections.
create table process_report (
    name              text primary key,
    seen_at           integer not null,
    report            text not null                  -- JSON
);

-- Carriers that no worker may use.
create table carrier_pause (
    carrier           text primary key,
    reason            text not null,
    paused_by         text not null,
    paused_at         integer not null,
    until             integer                        -- null: until it is resumed
);

-- When an operator asked for the next request to a carrier to be let through, whatever its circuit breaker says.
create table carrier_probe (
    carrier           text primary key,
    probe_at          integer not null
);

-- Numbers that get nothing.
create table block (
    kind              text not null,                 -- number, prefix or country
    value             text not null,                 -- of a number: its keyed hash
    shown             text not null,                 -- as people may see it
    reason            text not null,
    blocked_by        text not null,
    blocked_at        integer not null,
    until             integer,                      -- null: until it is removed
    primary key (kind, value)
);

-- Changes with each pause, probe and block. Each process reads it once a second, and the tables only when it has changed.
create table restriction (
    id                integer primary key check (id = 1),
    revision          text not null
);
insert into restriction values (1, '00000000-0000-0000-0000-000000000000');

-- What operators did.
create table audit (
    id                text primary key,              -- version 7: sorted by time
    at                integer not null,
    who               text not null,                 -- the id of an API key
    act               text not null,
    subject           text not null,                 -- never a whole number
    reason            text
);

-- For a search by number.
create index if not exists dispatch_number on dispatch (number_key);
