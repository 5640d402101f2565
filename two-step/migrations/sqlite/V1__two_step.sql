-- The tables of two-step. Times are milliseconds since 1970. No rule lives here.

create table account (
    id text primary key,
    product text not null,
    user_ref text not null,
    state text not null,
    wrong integer not null,
    paused_until integer,
    locale text,
    created_at integer not null,
    version integer not null
) strict;

create table method (
    id text primary key,
    account text not null,
    kind text not null,
    state text not null,
    reason text,
    label text,
    preferred integer not null,
    channel text,
    fallback integer not null,
    no_texts integer not null,
    target_hash text,
    target_sealed text,
    hint text not null,
    secret_sealed text,
    totp_step integer,
    wrong integer not null,
    created_at integer not null,
    verified_at integer,
    used_at integer
) strict;

create table challenge (
    id text primary key,
    account text not null,
    purpose text not null,
    state text not null,
    session text,
    method text,
    channel text,
    handle_hash text not null,
    browser_hash text,
    return_url text,
    return_state text,
    nonce text,
    wrong integer not null,
    sends integer not null,
    calls integer not null,
    next_send_at integer,
    client_hash text,
    agent text,
    locale text,
    created_at integer not null,
    expires_at integer not null,
    ended_at integer,
    ticket_hash text,
    ticket_until integer,
    jti text,
    proof text,
    acr text,
    device text,
    redeemed_at integer
) strict;

create table code (
    id text primary key,
    group_id text not null,
    challenge text not null,
    method text not null,
    hash text not null,
    sealed text not null,
    created_at integer not null,
    expires_at integer not null
) strict;

create table recovery_code (
    id text primary key,
    account text not null,
    n integer not null,
    salt text not null,
    hash text not null,
    used_at integer
) strict;

create table session (
    id text primary key,
    account text not null,
    purpose text not null,
    handle_hash text not null,
    browser_hash text,
    return_url text not null,
    return_state text,
    display_name text,
    locale text,
    client_hash text,
    proof_at integer,
    account_version integer not null,
    created_at integer not null,
    expires_at integer not null
) strict;

create table dispatch (
    id text primary key,
    group_id text not null,
    challenge text,
    method text not null,
    first_channel text not null,
    call_planned integer not null,
    issued_at integer not null,
    confirmed_at integer,
    state text not null,
    channel text,
    reason text,
    retry_at integer,
    sequence integer not null,
    call_due_at integer
) strict;

create table outbox (
    id text primary key,
    kind text not null,
    subject text not null,
    body_sealed text not null,
    not_after integer not null,
    tries integer not null,
    next_at integer not null
) strict;

create table device (
    id text primary key,
    generation integer not null,
    overlap_until integer not null,
    label text not null,
    seen_at integer not null,
    void integer not null
) strict;

create table trust (
    id text primary key,
    device text not null,
    account text not null,
    kind text not null,
    created_at integer not null,
    expires_at integer,
    used_at integer not null
) strict;

create table counter (
    key_hash text primary key,
    times text not null,
    expires_at integer not null
) strict;

create table support_case (
    id text primary key,
    account text not null,
    action text not null,
    method text,
    reason text not null,
    evidence text not null,
    asked_by text not null,
    approved_by text,
    asked_at integer not null,
    due_at integer not null,
    state text not null,
    code_hash text,
    code_until integer
) strict;

create table notice (
    token_hash text primary key,
    account text not null,
    about text not null,
    method text,
    until integer not null
) strict;

create table event (
    id text primary key,
    product text not null,
    account text not null,
    user_ref text not null,
    kind text not null,
    at integer not null,
    actor text not null,
    data text not null
) strict;

create table api_key (
    id text primary key,
    hash text not null,
    product text not null,
    scopes text not null,
    created_at integer not null
) strict;

create table signing_key (
    id text primary key,
    public text not null,
    sealed text not null,
    created_at integer not null,
    signs_from integer not null,
    retired_at integer
) strict;

create table idempotency (
    key_hash text primary key,
    body_hash text not null,
    row_id text not null,
    answer_sealed text,
    expires_at integer not null
) strict;

create unique index account_user on account (product, user_ref);
create index method_account on method (account);
create index method_target on method (target_hash) where target_hash is not null;
create unique index challenge_handle on challenge (handle_hash);
create unique index challenge_ticket on challenge (ticket_hash) where ticket_hash is not null;
create index challenge_account on challenge (account, created_at);
create index challenge_session on challenge (session) where session is not null;
create index challenge_created on challenge (created_at);
create index code_challenge on code (challenge);
create unique index recovery_code_place on recovery_code (account, n);
create unique index session_handle on session (handle_hash);
create index session_browser on session (browser_hash) where browser_hash is not null;
create index session_expires on session (expires_at);
create index dispatch_challenge on dispatch (challenge) where challenge is not null;
create index dispatch_call_due on dispatch (call_due_at) where call_due_at is not null;
create index dispatch_issued on dispatch (issued_at);
create index outbox_due on outbox (next_at);
create index outbox_subject on outbox (subject, id);
create unique index trust_device on trust (device, account, kind);
create index trust_account on trust (account);
create index counter_expires on counter (expires_at);
create index support_case_account on support_case (account);
create index support_case_due on support_case (due_at) where state = 'waiting';
create index notice_until on notice (until);
create index event_account on event (account, id);
create index event_product on event (product, id);
create index idempotency_expires on idempotency (expires_at);
