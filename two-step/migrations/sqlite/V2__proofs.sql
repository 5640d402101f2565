-- The visit to the settings in which a method last proved itself.
alter table method add column proved_in text;
alter table method add column removed_at integer;
update method set removed_at = coalesce(used_at, created_at) where state = 'removed';
-- A keyed hash of the code that was right: only the same entry is answered again.
alter table challenge add column answer_hash text;
