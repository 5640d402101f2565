-- The product's own app: its key, what it is asked, and the nonces of its requests.
create table app_key (
    method uuid primary key,
    account uuid not null,
    setup_name text,
    setup_sealed text,
    setup_until bigint not null,
    setup_tries bigint not null,
    thumbprint text,
    public text,
    display_name text,
    push_sealed text,
    paused_until bigint,
    seen_at bigint
);
create unique index app_key_setup on app_key (setup_name) where setup_name is not null;
create unique index app_key_thumbprint on app_key (thumbprint) where thumbprint is not null;
create index app_key_account on app_key (account);
create table app_request (
    id uuid primary key,
    challenge uuid not null,
    account uuid not null,
    method uuid not null,
    state text not null,
    created_at bigint not null,
    other_network boolean not null
);
create index app_request_challenge on app_request (challenge);
create index app_request_open on app_request (account) where state = 'open';
create index app_request_created on app_request (created_at);
create table app_nonce (
    key_hash text primary key,
    expires_at bigint not null
);
create index app_nonce_expires on app_nonce (expires_at);
-- Where the browser is, as the product says it.
alter table challenge add column place text;
