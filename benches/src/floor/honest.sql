-- The honest floor: one row per job, one per request, one quota per number.
create table floor_dispatch (
    id         uuid primary key,
    number     text not null,
    expires_at timestamptz not null,
    state      text not null,
    born_at    timestamptz not null,
    sent_at    timestamptz
) with (fillfactor = 90);

create table floor_attempt (
    id         uuid not null,
    n          smallint not null,
    claim      uuid not null,
    begun_at   timestamptz not null,
    outcome    text,
    reference  text,
    closed_at  timestamptz,
    primary key (id, n)
) with (fillfactor = 90);

create table floor_quota (
    number     text primary key,
    slots      timestamptz[] not null
) with (fillfactor = 80);

-- Takes a quota use of 5/10m and 10/1d under the lock of the number's row, and begins the first attempt. The upsert waits for
-- that lock and then reads the current row, so exactly as many pass as the rules allow, with any number of workers.
create function floor_begin(_id uuid, _number text, _expires_at timestamptz, _claim uuid) returns boolean
language plpgsql as $$
declare
    at timestamptz;
begin
    if exists (select from floor_dispatch d where d.id = _id) then
        return false;
    end if;
    insert into floor_quota as q values (_number, array[clock_timestamp()])
        on conflict (number) do update
           set slots = (q.slots || clock_timestamp())[greatest(1, cardinality(q.slots) - 8):]
         where (cardinality(q.slots) < 5 or q.slots[cardinality(q.slots) - 4] <= clock_timestamp() - interval '10 minutes')
           and (cardinality(q.slots) < 10 or q.slots[cardinality(q.slots) - 9] <= clock_timestamp() - interval '1 day');
    if not found then
        insert into floor_dispatch values (_id, _number, _expires_at, 'limited', clock_timestamp());
        return false;
    end if;
    at := clock_timestamp();
    insert into floor_dispatch values (_id, _number, _expires_at, 'sending', at);
    insert into floor_attempt values (_id, 1, _claim, at);
    return true;
end $$;
