-- The place of an event in the order in which readers see them. Readers give it to events that are committed.
alter table event add column seq bigint;
create unique index event_seq on event (seq) where seq is not null;
create index event_unnumbered on event (id) where seq is null;
create index event_product_seq on event (product, seq);
drop index event_product;
-- An address that the product has validated, and not the user by a code.
alter table method add column from_product boolean not null default false;
create index method_pending on method (created_at) where state = 'pending';
-- The mail server refused the mail with this code.
alter table code add column undelivered boolean not null default false;
