-- The place of an event in the order in which readers see them. Readers give it to events that are committed.
alter table event add column seq integer;
create unique index event_seq on event (seq) where seq is not null;
create index event_unnumbered on event (id) where seq is null;
create index event_product_seq on event (product, seq);
-- An address that the product has validated, and not the user by a code.
alter table method add column from_product integer not null default 0;
create index method_pending on method (created_at) where state = 'pending';
-- The mail server refused the mail with this code.
alter table code add column undelivered integer not null default 0;
-- Whose message waits, so that it goes with the user.
alter table outbox add column account text;
create index outbox_account on outbox (account) where account is not null;
create index dispatch_method on dispatch (method);
-- What the sweep looks for.
create index event_at on event (at);
create index method_removed on method (removed_at) where removed_at is not null;
create index trust_expires on trust (expires_at) where expires_at is not null;
create index device_seen on device (seen_at);
