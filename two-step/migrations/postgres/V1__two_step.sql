-- The tables of two-step. Times are milliseconds since 1970. No rule lives here.

create table account (
    id uuid primary key,
    product text not null,
    user_ref text not null,
    state text not null,
    wrong bigint not null,
    paused_until bigint,
    locale text,
    created_at bigint not null,
    version bigint not null
);

create table method (
    id uuid primary key,
    account uuid not null,
    kind text not null,
    state text not null,
    reason text,
    label text,
    preferred boolean not null,
    channel text,
    fallback boolean not null,
    no_texts boolean not null,
    target_hash text,
    target_sealed text,
    hint text not null,
    secret_sealed text,
    totp_step bigint,
    wrong bigint not null,
    created_at bigint not null,
    verified_at bigint,
    used_at bigint
);

create table challenge (
    id uuid primary key,
    account uuid not null,
    purpose text not null,
    state text not null,
    session uuid,
    method uuid,
    channel text,
    handle_hash text not null,
    browser_hash text,
    return_url text,
    return_state text,
    nonce text,
    wrong bigint not null,
    sends bigint not null,
    calls bigint not null,
    next_send_at bigint,
    client_hash text,
    agent text,
    locale text,
    created_at bigint not null,
    expires_at bigint not null,
    ended_at bigint,
    ticket_hash text,
    ticket_until bigint,
    jti uuid,
    proof text,
    acr text,
    device uuid,
    redeemed_at bigint
);

create table code (
    id uuid primary key,
    group_id uuid not null,
    challenge uuid not null,
    method uuid not null,
    hash text not null,
    sealed text not null,
    created_at bigint not null,
    expires_at bigint not null
);

create table recovery_code (
    id uuid primary key,
    account uuid not null,
    n bigint not null,
    salt text not null,
    hash text not null,
    used_at bigint
);

create table session (
    id uuid primary key,
    account uuid not null,
    purpose text not null,
    handle_hash text not null,
    browser_hash text,
    return_url text not null,
    return_state text,
    display_name text,
    locale text,
    client_hash text,
    proof_at bigint,
    account_version bigint not null,
    created_at bigint not null,
    expires_at bigint not null
);

create table dispatch (
    id uuid primary key,
    group_id uuid not null,
    challenge uuid,
    method uuid not null,
    first_channel text not null,
    call_planned boolean not null,
    issued_at bigint not null,
    confirmed_at bigint,
    state text not null,
    channel text,
    reason text,
    retry_at bigint,
    sequence bigint not null,
    call_due_at bigint
);

create table outbox (
    id uuid primary key,
    kind text not null,
    subject uuid not null,
    body_sealed text not null,
    not_after bigint not null,
    tries bigint not null,
    next_at bigint not null
);

create table device (
    id uuid primary key,
    generation bigint not null,
    overlap_until bigint not null,
    label text not null,
    seen_at bigint not null,
    void boolean not null
);

create table trust (
    id uuid primary key,
    device uuid not null,
    account uuid not null,
    kind text not null,
    created_at bigint not null,
    expires_at bigint,
    used_at bigint not null
);

create table counter (
    key_hash text primary key,
    times text not null,
    expires_at bigint not null
);

create table support_case (
    id uuid primary key,
    account uuid not null,
    action text not null,
    method uuid,
    reason text not null,
    evidence text not null,
    asked_by text not null,
    approved_by text,
    asked_at bigint not null,
    due_at bigint not null,
    state text not null,
    code_hash text,
    code_until bigint
);

create table notice (
    token_hash text primary key,
    account uuid not null,
    about text not null,
    method uuid,
    until bigint not null
);

create table event (
    id uuid primary key,
    product text not null,
    account uuid not null,
    user_ref text not null,
    kind text not null,
    at bigint not null,
    actor text not null,
    data text not null
);

create table api_key (
    id text primary key,
    hash text not null,
    product text not null,
    scopes text not null,
    created_at bigint not null
);

create table signing_key (
    id uuid primary key,
    public text not null,
    sealed text not null,
    created_at bigint not null,
    signs_from bigint not null,
    retired_at bigint
);

create table idempotency (
    key_hash text primary key,
    body_hash text not null,
    row_id uuid not null,
    answer_sealed text,
    expires_at bigint not null
);

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
