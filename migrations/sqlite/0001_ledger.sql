-- The ledger in one file: the same names and words as in PostgreSQL. Times are microseconds since 1970, lists are JSON.
-- Here every attempt has its row; one writer needs no locks.

-- The oldest version of the schema whose processes can run on this one. A migration that breaks older processes raises it.
create table compatibility (
    oldest_version   integer not null
);
insert into compatibility values (1);

create table dispatch (
    uid              text primary key,
    tenant           text not null,
    id               text not null,
    content          text not null,                 -- keyed hash: a repeated id is told from a conflict
    number_key       text not null,                 -- keyed hash of the number
    mask             text not null,                 -- the number as people may see it
    number           text not null,                 -- the number, sealed
    country          text,
    plan             text not null,                 -- the channels of the steps, such as sms,voice
    expires_at       integer not null,
    fallback_after_s integer not null,
    template         text not null,
    locale           text,
    tags             text not null,
    traceparent      text,
    supersedes       text,                          -- keyed hash of tenant, the caller's key, number
    issued_at        integer,
    admitted_at      integer not null,

    version          integer not null,
    state            text not null,
    reason           text,
    step             integer not null,
    step_at          integer not null,
    snoozes          integer not null,
    snoozed_until    integer,
    sent_event_steps integer not null,
    stop             text,
    requested_step   integer,                       -- the step that its sender requested
    wake_at          integer,                       -- when a worker must look at it again
    code             text,                          -- the code, sealed; gone with the final state or the expiry
    quota_uses       text not null,                 -- [{key, at}]
    holds_quota_uses integer not null,

    unique (tenant, id)
);

create index dispatch_due on dispatch (wake_at) where wake_at is not null;
create index dispatch_supersedes on dispatch (supersedes) where supersedes is not null;

create table attempt (
    uid              text not null references dispatch on delete cascade,
    n                integer not null,
    step             integer not null,
    channel          text not null,
    carrier          text not null,
    claim            text not null,
    repeats          integer,
    begun_at         integer not null,
    deadline         integer not null,
    closed_at        integer,
    outcome          text,
    detail           text,
    retry_after_ms   integer,
    message_id       text,
    carrier_code     text,
    segments         integer,
    price            text,
    receipt          text,
    receipt_reason   text,
    receipt_code     text,
    receipt_at       integer,
    corrected_reason text,                          -- the bad receipt that a later one corrected
    corrected_code   text,
    corrected_at     integer,
    primary key (uid, n)
) without rowid;

-- The last admission times of a key, oldest first: as many as its greatest rule counts.
create table quota (
    key              text primary key,
    uses             text not null                  -- JSON list of microseconds
) without rowid;

-- The carrier's message ids, of accounts whose callbacks name nothing else.
create table carrier_message (
    carrier          text not null,
    message_id       text not null,
    uid              text not null references dispatch on delete cascade,
    n                integer not null,
    primary key (carrier, message_id)
) without rowid;
create index carrier_message_uid on carrier_message (uid);

-- Receipts with a message id that no attempt has yet. Kept 72 h and matched again.
create table unmatched_receipt (
    carrier          text not null,
    message_id       text not null,
    receipt          text not null,
    received_at      integer not null,
    primary key (carrier, message_id, receipt)
) without rowid;

-- Receipts with a valid token for an attempt that has no row. Kept 72 h and matched again.
create table stray_receipt (
    uid              text not null,
    n                integer not null,
    carrier          text not null,
    receipt          text not null,
    received_at      integer not null,
    primary key (uid, n, receipt)
) without rowid;

-- Events that their receiver does not have yet. A row is deleted when all of its events are delivered.
create table outbox (
    id               text primary key,
    receiver         text not null,                 -- broker, or webhook:TENANT
    due_at           integer,                       -- when they are tried again; null: given up
    created_at       integer not null,
    tries            integer not null default 0,    -- tries that did not deliver all of them
    problem          text,                          -- why the latest try failed
    uid              text not null,
    events           text not null                  -- JSON: the events of the dispatch, with all that is published
) without rowid;

create index outbox_due on outbox (receiver, due_at);
create index outbox_created on outbox (receiver, created_at) where receiver <> 'broker';
create index outbox_uid on outbox (uid);

-- Who is alive: an account's rate is divided by the workers.
create table worker (
    name             text primary key,
    seen_at          integer not null
) without rowid;

-- API keys: only the hash of a key is kept.
create table api_key (
    id               text primary key,
    tenant           text not null,
    scopes           text not null,                 -- words, separated by spaces
    hash             text not null,                 -- SHA-256 of the key, hexadecimal
    created_at       integer not null,
    revoked_at       integer
) without rowid;
