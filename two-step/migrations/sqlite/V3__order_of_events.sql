-- The place of an event in the order in which readers see them. Readers give it to events that are committed.
alter table event add column seq integer;
create unique index event_seq on event (seq) where seq is not null;
create index event_unnumbered on event (id) where seq is null;
create index event_product_seq on event (product, seq);
drop index event_product;
-- An address that the product has validated, and not the user by a code.
alter table method add column from_product integer not null default 0;
create index method_pending on method (created_at) where state = 'pending';
-- The mail server refused the mail with this code.
alter table code add column undelivered integer not null default 0;
