-- A pause of a carrier may be for one country. An older process takes such a pause for one everywhere. Its own command to pause a carrier
-- fails, because it names the former key.
alter table carrier_pause
    add column country text not null default '',      -- ISO 3166; empty: everywhere
    drop constraint carrier_pause_pkey,
    add primary key (carrier, country);
