-- The ledger: one row per dispatch, with its newest attempt in it; one row per quota; wake-ups and the outbox in groups.
-- Codes and numbers are sealed before they come here, look-up keys are keyed hashes. Times are the server's, or a worker's
-- estimate of them; expires_at and issued_at are the sender's.
-- Tables and indexes only: every decision is in Rust (src/ledger/decide).

-- The oldest version of the schema whose processes can run on this one. A migration that breaks older processes raises it.
create table compatibility (
    oldest_version    integer not null
);
insert into compatibility values (1);

-- No indexed column changes in the life of a row, so every update stays in its page (HOT). That needs free room in each page.
create table dispatch (
    uid               uuid primary key,
    tenant            text not null,
    id                uuid not null,
    content           text not null,                 -- keyed hash: a repeated id is told from a conflict
    number_key        text not null,                 -- keyed hash of the number
    mask              text not null,                 -- the number as people may see it
    number            text not null,                 -- the number, sealed
    country           text,
    plan              text not null,                 -- the channels of the steps, such as sms,voice
    expires_at        timestamptz not null,
    fallback_after_s  integer not null,
    template          text not null,
    locale            text,
    tags              text not null,                 -- JSON
    traceparent       text,
    supersedes        text,                          -- keyed hash of tenant, the caller's key, number
    issued_at         timestamptz,
    admitted_at       timestamptz not null,

    version           bigint not null,
    state             text not null,
    reason            text,
    step              smallint not null,
    step_at           timestamptz not null,
    snoozes           smallint not null,
    snoozed_until     timestamptz,
    sent_event_steps  smallint not null,             -- bit n-1: the event `sent` of step n was created
    stop              text,
    requested_step    smallint,                      -- the step that its sender requested
    wake_at           timestamptz,                   -- when a worker must look at it again; see the table timer
    code              text,                          -- the code, if any, and the params, sealed; deleted with the final state or the expiry
    quota_uses        text not null,                 -- JSON: [{key, at}]
    holds_quota_uses  boolean not null,
    earlier_attempts  text,                          -- JSON: the attempts before the newest one, all of them closed

    -- the newest attempt; null: none yet
    n                 smallint,
    attempt_step      smallint,
    channel           text,
    carrier           text,
    claim             uuid,
    repeats           smallint,
    begun_at          timestamptz,
    deadline          timestamptz,
    closed_at         timestamptz,
    outcome           text,
    detail            text,
    retry_after_ms    bigint,
    message_id        text,
    carrier_code      text,
    segments          smallint,
    price             text,
    receipt           text,
    receipt_reason    text,
    receipt_code      text,
    receipt_at        timestamptz,
    corrected_reason  text,                          -- the bad receipt that a later one corrected
    corrected_code    text,
    corrected_at      timestamptz,

    constraint dispatch_id unique (tenant, id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

create index dispatch_supersedes on dispatch (supersedes) where supersedes is not null;

-- Wake-ups, in groups. Every dispatch with a wake_at is in a timer that is due no later. A timer may be due too early: whoever takes it
-- looks at the rows, and writes a new timer for those that wait longer.
create table timer (
    due_at            timestamptz not null,
    id                uuid not null,
    fresh             boolean not null,              -- whether its dispatches had no attempt
    uids              uuid[] not null,
    primary key (fresh, due_at, id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Events that their receiver does not have yet, in groups: those of one transaction for one receiver. A row is deleted when all of its
-- events are delivered.
create table outbox (
    id                uuid primary key,
    receiver          text not null,                 -- broker, or webhook:TENANT
    due_at            timestamptz,                   -- when they are tried again; null: given up
    created_at        timestamptz not null,
    tries             smallint not null default 0,   -- tries that did not deliver all of them
    problem           text,                          -- why the latest try failed
    uids              uuid[] not null,
    events            text[] not null                -- JSON: for each uid its events, with all that is published
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create index outbox_due on outbox (receiver, due_at);
create index outbox_created on outbox (receiver, created_at) where receiver <> 'broker';

-- The last admission times of a key, oldest first: as many as its greatest rule counts.
create table quota (
    key               text primary key,
    uses              bytea not null,                -- microseconds since 1970, 8 bytes each, big-endian
    forget_on         date not null                  -- no rule looks back further
) with (fillfactor = 80);

create index quota_forget on quota (forget_on);

-- The carrier's message ids, of accounts whose callbacks name nothing else.
create table carrier_message (
    carrier           text not null,
    message_id        text not null,
    uid               uuid not null references dispatch on delete cascade,
    n                 smallint not null,
    primary key (carrier, message_id)
);

create index carrier_message_uid on carrier_message (uid);

-- Receipts with a message id that no attempt has yet. Kept for 72 h and matched again.
create table unmatched_receipt (
    carrier           text not null,
    message_id        text not null,
    receipt           jsonb not null,
    received_at       timestamptz not null,
    primary key (carrier, message_id, receipt)
);

-- Receipts with a valid token for an attempt that has no row. Kept for 72 h and matched again.
create table stray_receipt (
    uid               uuid not null,
    n                 smallint not null,
    carrier           text not null,
    receipt           jsonb not null,
    received_at       timestamptz not null,
    primary key (uid, n, receipt)
);

-- Who is alive: an account's rate is divided by the workers.
create table worker (
    name              text primary key,
    seen_at           timestamptz not null
);

-- API keys: only the hash of a key is kept.
create table api_key (
    id                text primary key,
    tenant            text not null,
    scopes            text not null,                 -- words, separated by spaces
    hash              text not null,                 -- SHA-256 of the key, hexadecimal
    created_at        timestamptz not null,
    revoked_at        timestamptz
);

-- What is written to see whether the disk accepts writes again; empty at all other times.
create table trial (
    page              text not null
);
alter table trial alter column page set storage plain;
