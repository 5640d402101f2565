-- The ledger: one row per dispatch, with its newest attempt in it; older attempts beside it; one row per quota.
-- Codes and numbers are sealed before they come here, look-up keys are keyed hashes. All times are the ledger's.

create table dispatch (
    uid              uuid primary key,
    tenant           text not null,
    id               uuid not null,
    content          text not null,                 -- keyed hash: a repeated id is told from a conflict
    number_key       text not null,                 -- keyed hash of the number
    mask             text not null,                 -- the number as people may see it
    number           text not null,                 -- the number, sealed
    country          text,
    plan             text[] not null,
    expires_at       timestamptz not null,
    fallback_after_s integer not null,
    template         text not null,
    locale           text,
    tags             jsonb not null,
    traceparent      text,
    supersedes       text,                          -- keyed hash of tenant, the caller's key, number
    issued_at        timestamptz,
    born_at          timestamptz not null,

    version          bigint not null,
    state            text not null,
    reason           text,
    step             smallint not null,
    step_at          timestamptz not null,
    snoozes          smallint not null,
    snoozed_until    timestamptz,
    told_steps       smallint not null,
    stop             text,
    asked            smallint,                      -- the step that its sender asked for
    wake_at          timestamptz,                   -- when a worker must look at it again
    code             text,                          -- the code, sealed; gone with the final state or the expiry
    slots            jsonb not null,                -- the quota slots it took: [{key, at}]
    slots_held       boolean not null,
    owed             jsonb not null,                -- events still to be told
    tell_at          timestamptz,                   -- when they are told again

    -- the newest attempt; n = 0: none yet
    n                smallint not null,
    attempt_step     smallint,
    channel          text,
    carrier          text,
    claim            uuid,
    repeats          smallint,
    begun_at         timestamptz,
    deadline         timestamptz,
    closed_at        timestamptz,
    outcome          text,
    detail           text,
    retry_after_ms   bigint,
    reference        text,
    carrier_code     text,
    segments         smallint,
    price            text,
    receipt          text,
    receipt_reason   text,
    receipt_code     text,
    receipt_at       timestamptz,
    corrected_reason text,                          -- the bad receipt that a later one corrected
    corrected_code   text,
    corrected_at     timestamptz,

    constraint dispatch_id unique (tenant, id)
) with (fillfactor = 90);

create index dispatch_due_fresh on dispatch (wake_at) where wake_at is not null and state = 'queued';
create index dispatch_due_begun on dispatch (wake_at) where wake_at is not null and state <> 'queued';
create index dispatch_tell on dispatch (tell_at) where tell_at is not null;
create index dispatch_supersedes on dispatch (supersedes) where supersedes is not null;

-- Attempts that a newer one has followed. All of them are closed.
create table attempt (
    uid              uuid not null references dispatch on delete cascade,
    n                smallint not null,
    step             smallint not null,
    channel          text not null,
    carrier          text not null,
    claim            uuid not null,
    repeats          smallint,
    begun_at         timestamptz not null,
    deadline         timestamptz not null,
    closed_at        timestamptz,
    outcome          text,
    detail           text,
    retry_after_ms   bigint,
    reference        text,
    carrier_code     text,
    segments         smallint,
    price            text,
    receipt          text,
    receipt_reason   text,
    receipt_code     text,
    receipt_at       timestamptz,
    corrected_reason text,                          -- the bad receipt that a later one corrected
    corrected_code   text,
    corrected_at     timestamptz,
    primary key (uid, n)
);

-- The last admission times of a key, oldest first: as many as its greatest rule counts.
create table quota (
    key              text primary key,
    slots            timestamptz[] not null
) with (fillfactor = 80);

-- The carrier's message ids, of accounts whose callbacks name nothing else.
create table carrier_reference (
    carrier          text not null,
    reference        text not null,
    uid              uuid not null references dispatch on delete cascade,
    n                smallint not null,
    primary key (carrier, reference)
);
create index carrier_reference_uid on carrier_reference (uid);

-- Receipts with a message id that no attempt has yet. Kept 72 h and matched again.
create table unmatched_receipt (
    carrier          text not null,
    reference        text not null,
    receipt          jsonb not null,
    received_at      timestamptz not null,
    primary key (carrier, reference, receipt)
);

-- Receipts with a valid token for an attempt that has no row. Kept for 72 h and matched again.
create table stray_receipt (
    uid              uuid not null,
    n                smallint not null,
    carrier          text not null,
    receipt          jsonb not null,
    received_at      timestamptz not null,
    primary key (uid, n, receipt)
);

-- Events on their way to tenants' webhooks. A row goes when the event was confirmed.
create table webhook (
    uid              uuid not null references dispatch on delete cascade,
    version          bigint not null,
    tenant           text not null,
    event            jsonb not null,
    tries            smallint not null default 0,
    due_at           timestamptz,                   -- null: given up
    born_at          timestamptz not null,
    problem          text,
    primary key (uid, version)
);

create index webhook_due on webhook (tenant, due_at) where due_at is not null;
create index webhook_born on webhook (tenant, born_at);

-- Who is alive: an account's rate is divided by the workers.
create table worker (
    name             text primary key,
    seen_at          timestamptz not null
);

-- Keys of the HTTP doors: only the hash of a key is kept.
create table api_key (
    id               text primary key,
    tenant           text not null,
    scopes           text not null,                 -- words, separated by spaces
    hash             text not null,                 -- SHA-256 of the key, hexadecimal
    created_at       timestamptz not null,
    revoked_at       timestamptz
);

-- What is written to see whether the disk takes anything again; empty at all other times.
create table trial (
    page             text not null
);
alter table trial alter column page set storage plain;

-- Writes as much as a large group does, to pages that the disk must find anew, and takes it away again.
create function otpost_try_to_write() returns jsonb language plpgsql as $$
begin
    truncate trial;
    insert into trial select repeat('-', 7000) from generate_series(1, 40);
    truncate trial;
    return 'true';
end $$;

-- The ledger's clock: the only one that quotas and deadlines know.
create function otpost_now() returns timestamptz language sql volatile as $$ select clock_timestamp() $$;

-- A dispatch with all its attempts, oldest first, and the time of this reading.
create function otpost_row(d dispatch, read_at timestamptz) returns jsonb language sql stable as $$
    select to_jsonb(d) || jsonb_build_object(
        'now', read_at,
        'attempts',
        (case when d.n > 1 then coalesce((select jsonb_agg(to_jsonb(a) order by a.n) from attempt a where a.uid = d.uid), '[]')
              else '[]'::jsonb end)
        || (case when d.n > 0 then jsonb_build_array(jsonb_build_object(
                'n', d.n, 'step', d.attempt_step, 'channel', d.channel, 'carrier', d.carrier, 'claim', d.claim,
                'repeats', d.repeats, 'begun_at', d.begun_at, 'deadline', d.deadline, 'closed_at', d.closed_at,
                'outcome', d.outcome, 'detail', d.detail, 'retry_after_ms', d.retry_after_ms,
                'reference', d.reference, 'carrier_code', d.carrier_code, 'segments', d.segments, 'price', d.price,
                'receipt', d.receipt, 'receipt_reason', d.receipt_reason, 'receipt_code', d.receipt_code,
                'receipt_at', d.receipt_at, 'corrected_reason', d.corrected_reason,
                'corrected_code', d.corrected_code, 'corrected_at', d.corrected_at))
            else '[]'::jsonb end))
$$;

-- How many slots a key has left under its rules ([[count, seconds], …]).
create function otpost_left(slots timestamptz[], rules jsonb, at timestamptz) returns integer language sql stable as $$
    select coalesce(min((r->>0)::int - (select count(*)::int from unnest(slots) s
                                        where s + make_interval(secs => (r->>1)::float8) > at)), 1000000)
    from jsonb_array_elements(rules) r
$$;

-- Seconds until a key has a slot again; 0 when it has one.
create function otpost_retry_after(slots timestamptz[], rules jsonb, at timestamptz) returns bigint language sql stable as $$
    select coalesce(max(greatest(0, ceil(extract(epoch from
        slots[cardinality(slots) - (r->>0)::int + 1] + make_interval(secs => (r->>1)::float8) - at))::bigint)), 0)
    from jsonb_array_elements(rules) r
    where cardinality(slots) >= (r->>0)::int
$$;

-- How many admission times of a key are kept.
create function otpost_keep(rules jsonb) returns integer language sql stable as $$
    select greatest(1, coalesce(max((r->>0)::int), 1)) from jsonb_array_elements(rules) r
$$;

-- The functions below look rows up by index, whatever the statistics say: a plan that was made on an empty ledger
-- would read all of a full one (a hash join over a whole index), and would stay until the next analyze.

-- Takes a group of jobs in. One transaction: quota rows locked in key order, the clock read after the lock, then
-- decided in order. A row that another transaction made meanwhile raises 40001: the whole group runs again.
create function otpost_admit(items jsonb) returns jsonb
language plpgsql volatile set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    clock       timestamptz;
    known    jsonb;
    all_keys     text[];    -- the quota keys of this group, in order
    all_rules jsonb[];
    all_new  boolean[];    -- which of them have no row yet
    remain   integer[];
    newest   timestamptz[];
    waits    bigint[];
    took_key text[] := '{}';
    took_at  timestamptz[] := '{}';
    it       record;
    lk       text;
    p        integer;
    vp       integer;
    fits     boolean;
    won      timestamptz;
    mine     jsonb;
    decided  jsonb[] := '{}';
    verdicts jsonb;
    marked   jsonb := '[]';
    held     bigint;
    rows     bigint;
begin
    -- Known ids are answered before any limit is asked.
    select jsonb_agg(jsonb_build_object(
               'ix', i.ix, 'result', case when d.content = i.content then 'known' else 'conflict' end,
               'uid', d.uid, 'state', d.state, 'stop', d.stop, 'version', d.version,
               'mine', coalesce(d.claim = (i.attempt->>'claim')::uuid and d.outcome is null, false)))
      into known
      from jsonb_to_recordset(items) as i(ix int, tenant text, id uuid, content text, attempt jsonb)
      join dispatch d on d.tenant = i.tenant and d.id = i.id;
    known := coalesce(known, '[]');
    if jsonb_array_length(known) = jsonb_array_length(items) then
        return known;
    end if;

    -- Lock what is there, in key order; remember what is not.
    with asked as (
        select distinct on (l->>'key') l->>'key' as key, l->'rules' as rules
          from jsonb_array_elements(items) i,
               jsonb_array_elements((i->'limits') || coalesce(nullif(i->'voice', 'null'), '[]')) l
         where i->>'refusal' is null
           and not exists (select from jsonb_array_elements(known) k where k->'ix' = i->'ix')
         order by l->>'key'
    ), there as materialized (
        select q.key, q.slots from quota q where q.key = any(array(select a.key from asked a)) order by q.key for update
    )
    select array_agg(a.key order by a.key), array_agg(a.rules order by a.key), array_agg(t.key is null order by a.key)
      into all_keys, all_rules, all_new
      from asked a left join there t on t.key = a.key;
    all_keys := coalesce(all_keys, '{}');
    clock := otpost_now();
    -- A statement of its own: its snapshot is newer than the lock.
    select array_agg(case when q.key is not null then otpost_left(q.slots, k.rules, clock) end order by k.i),
           array_agg(q.slots[cardinality(q.slots)] order by k.i)
      into remain, newest
      from unnest(all_keys, all_rules) with ordinality k(key, rules, i)
      left join quota q on q.key = k.key;
    for p in 1 .. cardinality(all_keys) loop
        if remain[p] is null or all_new[p] then
            if newest[p] is not null then
                raise exception 'quota row appeared' using errcode = '40001';
            end if;
            remain[p] := coalesce((select min((r->>0)::int) from jsonb_array_elements(all_rules[p]) r), 1000000);
        end if;
    end loop;

    for it in
        select * from jsonb_to_recordset(items) as i(
            ix int, uid uuid, tenant text, id uuid, limits jsonb, voice jsonb, refusal text, refusal_reason text,
            keep_refusal boolean, supersedes text, issued_at timestamptz, attempt jsonb, skip_to int, plan_over int,
            snooze_ms bigint)
        where not exists (select from jsonb_array_elements(known) k where (k->>'ix')::int = i.ix)
        order by i.ix
    loop
        mine := jsonb_build_object('ix', it.ix, 'uid', it.uid, 'state', it.refusal, 'reason', it.refusal_reason,
                                   'step', 1, 'slots', '[]'::jsonb);
        if it.refusal is null and it.supersedes is not null and exists (
            select from dispatch d where d.supersedes = it.supersedes
               and d.slots <> '[]' and (d.issued_at, d.id) > (it.issued_at, it.id))
        then
            mine := mine || '{"state": "superseded", "reason": "newer"}';
        elsif it.refusal is null then
            fits := true;
            for lk in select l->>'key' from jsonb_array_elements(it.limits) l loop
                fits := fits and remain[array_position(all_keys, lk)] > 0;
            end loop;
            vp := case when it.voice is null then null else array_position(all_keys, it.voice->>'key') end;
            if not fits then
                mine := mine || '{"state": "limited", "reason": "quota"}';
            elsif vp is not null and remain[vp] <= 0 and it.skip_to >= it.plan_over then
                mine := mine || jsonb_build_object('state', 'limited', 'reason', 'voice_quota', 'step', it.skip_to);
            else
                for lk in
                    select l->>'key' from jsonb_array_elements(it.limits) l
                    union all select it.voice->>'key' where vp is not null and remain[vp] > 0
                loop
                    p := array_position(all_keys, lk);
                    won := greatest(clock, newest[p] + interval '1 microsecond');
                    newest[p] := won;
                    took_key := took_key || lk;
                    took_at := took_at || won;
                    mine := jsonb_set(mine, '{slots}', (mine->'slots') || jsonb_build_object('key', lk, 'at', won));
                end loop;
                for lk in select l->>'key' from jsonb_array_elements(it.limits) l loop
                    p := array_position(all_keys, lk);
                    remain[p] := remain[p] - 1;
                end loop;
                if it.attempt is not null and (vp is null or remain[vp] > 0) then
                    mine := mine || '{"state": "sending"}';
                    if vp is not null then remain[vp] := remain[vp] - 1; end if;
                else
                    mine := mine || jsonb_build_object('state', 'queued',
                        'step', case when vp is null then 1 else it.skip_to end,
                        'wake_at', clock + make_interval(secs => coalesce(case when vp is null then it.snooze_ms end, 0) / 1000.0));
                end if;
                if it.supersedes is not null then
                    marked := marked || jsonb_build_object('key', it.supersedes, 'issued_at', it.issued_at, 'id', it.id);
                end if;
            end if;
        end if;
        decided := array_append(decided, mine);
    end loop;
    verdicts := to_jsonb(decided);

    -- The quota.
    update quota q set slots = n.slots
      from (select k.key, (o.slots || t.at)[greatest(1, cardinality(o.slots || t.at) - otpost_keep(k.rules) + 1):] as slots
              from unnest(all_keys, all_rules, all_new) k(key, rules, is_new)
              join quota o on o.key = k.key
              join (select key, array_agg(a.at order by a.at) as at from unnest(took_key, took_at) a(key, at) group by 1) t
                on t.key = k.key
             where not k.is_new) n
     where q.key = n.key;
    select count(distinct t) into held from unnest(took_key) t
     where all_new[array_position(all_keys, t)];
    insert into quota (key, slots)
        select a.key, array_agg(a.at order by a.at) from unnest(took_key, took_at) a(key, at)
         where all_new[array_position(all_keys, a.key)] group by a.key order by a.key
        on conflict do nothing;
    get diagnostics rows = row_count;
    if rows <> held then
        raise exception 'quota row appeared' using errcode = '40001';
    end if;

    -- Older dispatches of the same sign-in: no further request of theirs begins.
    if marked <> '[]' then
        with older as (
            select d.uid from dispatch d
              join jsonb_to_recordset(marked) as m(key text, issued_at timestamptz, id uuid)
                on d.supersedes = m.key and (d.issued_at, d.id) < (m.issued_at, m.id)
             where d.stop is null and d.state in ('queued', 'sending', 'sent')
             order by d.uid for update of d
        ), done as (
            update dispatch d set stop = 'superseded', version = d.version + 1,
                   wake_at = case when d.n > 0 and d.outcome is null then d.wake_at else clock end
              from older where d.uid = older.uid and d.stop is null returning d.uid, d.supersedes
        )
        select coalesce(jsonb_agg(jsonb_build_object('uid', uid, 'key', supersedes)), '[]') into marked from done;
    end if;

    -- The rows: all that were taken, and refusals where they are kept.
    with v as (
        select * from jsonb_to_recordset(verdicts) as v(
            ix int, uid uuid, state text, reason text, step smallint, slots jsonb, wake_at timestamptz)
    ), i as (
        select * from jsonb_to_recordset(items) as i(
            ix int, tenant text, id uuid, content text, number_key text, mask text, number text, country text,
            plan text[], expires_at timestamptz, fallback_after_s int, template text, locale text, tags jsonb,
            traceparent text, supersedes text, issued_at timestamptz, code text, owes boolean, keep_refusal boolean,
            snooze_ms bigint, attempt jsonb)
    )
    insert into dispatch (uid, tenant, id, content, number_key, mask, number, country, plan, expires_at,
            fallback_after_s, template, locale, tags, traceparent, supersedes, issued_at, born_at, version, state,
            reason, step, step_at, snoozes, snoozed_until, told_steps, wake_at, code, slots, slots_held, owed, tell_at,
            n, attempt_step, channel, carrier, claim, begun_at, deadline)
    select v.uid, i.tenant, i.id, i.content, i.number_key, i.mask, i.number, i.country, i.plan, i.expires_at,
           i.fallback_after_s, i.template, i.locale, i.tags, i.traceparent, i.supersedes, i.issued_at, clock, 1, v.state,
           v.reason, v.step, clock,
           case when v.state = 'queued' and v.step = 1 and i.snooze_ms is not null then 1 else 0 end,
           case when v.state = 'queued' and v.step = 1 and i.snooze_ms is not null then v.wake_at end,
           0,
           case v.state when 'sending' then clock + make_interval(secs => (i.attempt->>'deadline_ms')::float8 / 1000)
                        when 'queued' then v.wake_at end,
           case when v.state in ('sending', 'queued') then i.code end,
           v.slots, v.slots <> '[]',
           case when final.told then jsonb_build_array(otpost_refusal(
                v.state, v.reason, least(v.step, cardinality(i.plan)), item.limits, item.voice, clock)) else '[]' end,
           case when final.told then clock + interval '5 seconds' end,
           case when v.state = 'sending' then 1 else 0 end,
           case when v.state = 'sending' then 1 end, b.channel, b.carrier, b.claim,
           case when v.state = 'sending' then clock end,
           case when v.state = 'sending' then clock + make_interval(secs => b.deadline_ms / 1000) end
      from v join i on i.ix = v.ix
      join lateral (select i.owes and v.state not in ('sending', 'queued') as told) final on true
      join lateral (select items->v.ix->'limits' as limits, items->v.ix->'voice' as voice) item on true
      left join lateral (select i.attempt->>'channel' as channel, i.attempt->>'carrier' as carrier,
                                (i.attempt->>'claim')::uuid as claim, (i.attempt->>'deadline_ms')::float8 as deadline_ms
                          where v.state = 'sending') b on true
     where v.state in ('sending', 'queued') or i.keep_refusal
     order by i.tenant, i.id
    on conflict (tenant, id) do nothing;
    get diagnostics rows = row_count;
    select count(*) into held from jsonb_to_recordset(verdicts) as v(ix int, state text)
     where v.state in ('sending', 'queued') or (items->v.ix->>'keep_refusal')::boolean;
    if rows <> held then
        raise exception 'dispatch row appeared' using errcode = '40001';
    end if;
    insert into webhook (uid, version, tenant, event, due_at, born_at)
        select d.uid, 1, d.tenant, otpost_refusal(d.state, d.reason, least(d.step, cardinality(d.plan)),
               i->'limits', i->'voice', clock), clock, clock
          from jsonb_array_elements(verdicts) v
          join lateral (select items->(v->>'ix')::int as i) x on true
          join dispatch d on d.uid = (v->>'uid')::uuid
         where (i->>'hooks')::boolean and d.state not in ('sending', 'queued') order by 1;

    return known || (
        select coalesce(jsonb_agg(v || jsonb_build_object(
                   'result', case when v->>'state' in ('sending', 'queued') or (job->>'keep_refusal')::boolean
                                  then 'born' else 'refused' end,
                   'now', clock,
                   'retry_after_s', case when v->>'reason' in ('quota', 'voice_quota')
                                         then otpost_wait(v->>'reason', job->'limits', job->'voice', clock) end,
                   'superseded', case when marked = '[]' then marked else coalesce((
                       select jsonb_agg(m->'uid') from jsonb_array_elements(marked) m
                        where m->>'key' = job->>'supersedes'), '[]') end)), '[]')
          from jsonb_array_elements(verdicts) v, lateral (select items->(v->>'ix')::int as job) x);
end $$;

-- Seconds until a refused job's keys have a slot again.
create function otpost_wait(reason text, limits jsonb, voice jsonb, clock timestamptz) returns bigint language sql stable as $$
    select max(otpost_retry_after(q.slots, l->'rules', clock))
      from jsonb_array_elements(case reason when 'quota' then limits when 'voice_quota' then jsonb_build_array(voice)
                                else '[]'::jsonb end) l
      join quota q on q.key = l->>'key'
$$;

-- The event of a job that was refused when it came in.
create function otpost_refusal(state text, reason text, step integer, limits jsonb, voice jsonb, clock timestamptz)
returns jsonb language sql stable as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'version', 1, 'state', state, 'at', clock, 'step', step, 'reason', reason,
        'retry_after_s', case when reason in ('quota', 'voice_quota') then otpost_wait(reason, limits, voice, clock) end))
$$;

-- Begins attempts: committed before the first byte of a request goes out.
create function otpost_begin(items jsonb) returns jsonb
language plpgsql volatile set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    clock       timestamptz;
    it       record;
    d        dispatch;
    calls    quota;
    slot     timestamptz;
    results  jsonb := '[]';
    mine     jsonb;
begin
    -- Makes or locks the quota rows of calls, in key order.
    insert into quota (key, slots)
        select distinct i->'voice'->>'key', '{}'::timestamptz[] from jsonb_array_elements(items) i
         where i->'voice'->>'key' is not null order by 1
        on conflict (key) do update set slots = quota.slots;
    perform from dispatch where uid = any(array(select (i->>'uid')::uuid from jsonb_array_elements(items) i))
      order by uid for update;
    clock := otpost_now();
    for it in
        select * from jsonb_to_recordset(items) as i(
            ix int, uid uuid, seen bigint, step smallint, channel text, carrier text, claim uuid, repeats smallint,
            deadline_ms float8, voice jsonb) order by i.voice->>'key', i.uid
    loop
        select * into d from dispatch where uid = it.uid;
        mine := jsonb_build_object('ix', it.ix, 'now', clock);
        if d.claim = it.claim and d.outcome is null then
            -- This very begin came through before its answer was lost.
            results := results || (mine || jsonb_build_object('result', 'begun', 'row', otpost_row(d, clock)));
            continue;
        end if;
        if d.uid is null or d.version <> it.seen or (d.n > 0 and d.outcome is null) or d.code is null then
            results := results || (mine || jsonb_build_object('result', 'lost', 'row',
                                   case when d.uid is not null then otpost_row(d, clock) end));
            continue;
        end if;
        if it.voice is not null then
            select * into calls from quota where key = it.voice->>'key';
            if otpost_left(calls.slots, it.voice->'rules', clock) <= 0 then
                results := results || (mine || jsonb_build_object('result', 'voice_refused',
                    'retry_after_s', greatest(1, otpost_retry_after(calls.slots, it.voice->'rules', clock))));
                continue;
            end if;
            slot := greatest(clock, calls.slots[cardinality(calls.slots)] + interval '1 microsecond');
            update quota set slots = (calls.slots || slot)
                   [greatest(1, cardinality(calls.slots) + 2 - otpost_keep(it.voice->'rules')):] where key = calls.key;
            d.slots := d.slots || jsonb_build_object('key', calls.key, 'at', slot);
        end if;
        if d.n > 0 then
            insert into attempt values (d.uid, d.n, d.attempt_step, d.channel, d.carrier, d.claim, d.repeats,
                d.begun_at, d.deadline, d.closed_at, d.outcome, d.detail, d.retry_after_ms, d.reference,
                d.carrier_code, d.segments, d.price, d.receipt, d.receipt_reason, d.receipt_code, d.receipt_at,
                d.corrected_reason, d.corrected_code, d.corrected_at);
        end if;
        if d.step <> it.step then
            d.step := it.step; d.step_at := clock; d.snoozes := 0;
        end if;
        update dispatch u set
            version = d.version + 1, state = case when d.state = 'queued' then 'sending' else d.state end,
            step = d.step, step_at = d.step_at, snoozes = d.snoozes, snoozed_until = null, slots = d.slots,
            wake_at = clock + make_interval(secs => it.deadline_ms / 1000),
            n = d.n + 1, attempt_step = it.step, channel = it.channel, carrier = it.carrier, claim = it.claim,
            repeats = it.repeats, begun_at = clock, deadline = clock + make_interval(secs => it.deadline_ms / 1000),
            closed_at = null, outcome = null, detail = null, retry_after_ms = null, reference = null,
            carrier_code = null, segments = null, price = null, receipt = null, receipt_reason = null,
            receipt_code = null, receipt_at = null, corrected_reason = null, corrected_code = null, corrected_at = null
          where u.uid = d.uid returning * into d;
        results := results || (mine || jsonb_build_object('result', 'begun', 'row', otpost_row(d, clock)));
    end loop;
    return results;
end $$;

-- Writes outcomes (items with a claim) and conclusions. A conclusion is written only where the version is still the
-- one that was seen; an outcome without its conclusion raises the version and leaves a lease.
create function otpost_conclude(items jsonb) returns jsonb
language plpgsql volatile set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    clock       timestamptz;
    results  jsonb;
    fates    jsonb;
    late     record;
    fact     boolean;
begin
    -- Lock order: quota, dispatch, attempt; each by key.
    perform from quota where key = any(array(
        select jsonb_array_elements_text(i->'keys') from jsonb_array_elements(items) i where i ? 'keys'))
      order by key for update;
    perform from dispatch where uid = any(array(select (i->>'uid')::uuid from jsonb_array_elements(items) i))
      order by uid for update;
    clock := otpost_now();

    select jsonb_agg(jsonb_build_object('ix', i.ix, 'uid', i.uid, 'now', clock, 'result', case
               when i.claim is null then case when d.version = i.seen then 'concluded' else 'lost' end
               when d.claim = i.claim and d.outcome is null then
                    case when d.version = i.seen and i.conclusion is not null then 'concluded' else 'outcome_only' end
               else 'late' end))
      into fates
      from jsonb_to_recordset(items) as i(ix int, uid uuid, seen bigint, claim uuid, conclusion jsonb)
      left join dispatch d on d.uid = i.uid;

    update dispatch d set
        version        = case when f.whole then c.version else d.version + 1 end,
        state          = case when f.whole then c.state else d.state end,
        reason         = case when f.whole then c.reason else d.reason end,
        step           = case when f.whole then c.step else d.step end,
        step_at        = case when f.whole then c.step_at else d.step_at end,
        snoozes        = case when f.whole then c.snoozes else d.snoozes end,
        snoozed_until  = case when f.whole then c.snoozed_until else d.snoozed_until end,
        told_steps     = case when f.whole then c.told_steps else d.told_steps end,
        wake_at        = case when f.whole then c.wake_at else clock + interval '5 seconds' end,
        code           = case when f.whole and c.drop_code then null else d.code end,
        slots_held     = case when not f.whole then d.slots_held when c.slots = 'give_back' then false
                              when c.slots = 'take_again' then true else d.slots_held end,
        owed           = case when f.whole and i.owes then d.owed || c.events else d.owed end,
        tell_at        = case when f.whole and i.owes and c.events <> '[]' then clock + interval '5 seconds' else d.tell_at end,
        outcome        = case when i.claim is not null then i.outcome when c.close is not null then 'unknown' else d.outcome end,
        closed_at      = case when i.claim is not null then i.closed_at when c.close is not null then c.at else d.closed_at end,
        detail         = case when i.claim is not null then i.detail else d.detail end,
        retry_after_ms = case when i.claim is not null then i.retry_after_ms else d.retry_after_ms end,
        reference      = coalesce(i.reference, d.reference),
        carrier_code   = coalesce(i.carrier_code, d.carrier_code),
        segments       = coalesce(i.segments, d.segments),
        price          = coalesce(i.price, d.price)
      from jsonb_to_recordset(items) as i(
               ix int, uid uuid, claim uuid, outcome text, detail text, retry_after_ms bigint, closed_at timestamptz,
               reference text, carrier_code text, segments smallint, price text, conclusion jsonb, owes boolean)
      join (select t.ix, t.result = 'concluded' as whole from jsonb_to_recordset(fates) as t(ix int, result text)
             where t.result in ('concluded', 'outcome_only')) f on f.ix = i.ix
      left join lateral jsonb_to_record(i.conclusion) as c(
               version bigint, close int, state text, reason text, step smallint, step_at timestamptz, snoozes smallint,
               snoozed_until timestamptz, told_steps smallint, wake_at timestamptz, drop_code boolean, slots text,
               events jsonb, at timestamptz) on true
     where d.uid = i.uid;

    insert into webhook (uid, version, tenant, event, due_at, born_at)
        select d.uid, (e->>'version')::bigint, d.tenant, e, clock, clock
          from jsonb_to_recordset(items) as i(ix int, uid uuid, hooks boolean, conclusion jsonb)
          join jsonb_to_recordset(fates) as f(ix int, result text) on f.ix = i.ix and f.result = 'concluded'
          join dispatch d on d.uid = i.uid,
               jsonb_array_elements(i.conclusion->'events') e
         where i.hooks order by 1, 2;

    -- Slots given back, and taken again by a correction, even above the rule.
    if exists (select from jsonb_array_elements(items) i where i ? 'keys') then
        with moved as materialized (
            select s->>'key' as key, (s->>'at')::timestamptz as at, i.conclusion->>'slots' as way
              from jsonb_to_recordset(items) as i(ix int, uid uuid, conclusion jsonb)
              join jsonb_to_recordset(fates) as f(ix int, result text) on f.ix = i.ix and f.result = 'concluded'
              join dispatch d on d.uid = i.uid,
                   jsonb_array_elements(d.slots) s
             where i.conclusion->>'slots' in ('give_back', 'take_again'))
        update quota q set slots = array(
            select distinct s from (
                select unnest(q.slots) as s
                except select m.at from moved m where m.key = q.key and m.way = 'give_back'
                union select m.at from moved m where m.key = q.key and m.way = 'take_again') kept order by s)
         where q.key in (select m.key from moved m);
    end if;

    -- Somebody else closed it, or this very finish came through before: add what the answer said, begin nothing.
    for late in
        select i.*, d.n as newest from jsonb_to_recordset(items) as i(ix int, uid uuid, n smallint, claim uuid,
               outcome text, reference text, segments smallint, price text)
          join dispatch d on d.uid = i.uid
         where i.claim is not null and i.outcome = 'accepted'
           and i.ix = any(array(select t.ix from jsonb_to_recordset(fates) as t(ix int, result text)
                                 where t.result = 'late'))
         order by i.uid
    loop
        if late.newest = late.n then
            select d.outcome = 'unknown' into fact from dispatch d where d.uid = late.uid and d.claim = late.claim;
            update dispatch d set outcome = 'accepted', reference = coalesce(d.reference, late.reference),
                   segments = coalesce(d.segments, late.segments), price = coalesce(d.price, late.price)
             where d.uid = late.uid and d.claim = late.claim and d.outcome in ('unknown', 'accepted');
        else
            select a.outcome = 'unknown' into fact from attempt a where a.uid = late.uid and a.n = late.n and a.claim = late.claim;
            update attempt a set outcome = 'accepted', reference = coalesce(a.reference, late.reference),
                   segments = coalesce(a.segments, late.segments), price = coalesce(a.price, late.price)
             where a.uid = late.uid and a.n = late.n and a.claim = late.claim and a.outcome in ('unknown', 'accepted');
        end if;
        if fact then
            update dispatch set version = version + 1, wake_at = clock where uid = late.uid;
            fates := (select jsonb_agg(case when (f->>'ix')::int = late.ix then f || '{"result": "late_fact"}' else f end)
                        from jsonb_array_elements(fates) f);
        end if;
    end loop;

    -- Whoever has to look again gets the row.
    select jsonb_agg(f || case when f->>'result' in ('outcome_only', 'lost') and d.uid is not null
                               then jsonb_build_object('row', otpost_row(d, clock)) else '{}' end)
      into results
      from jsonb_array_elements(fates) f left join dispatch d on d.uid = (f->>'uid')::uuid;
    return results;
end $$;

-- Records receipts. A receipt proves acceptance; `delivered` outranks a bad one, else the first final one stays.
create function otpost_record(items jsonb) returns jsonb
language plpgsql volatile set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    clock       timestamptz;
    it       record;
    d        dispatch;
    a        attempt;
    learns   boolean;
    counts   boolean;
    results  jsonb := '[]';
begin
    perform from dispatch where uid = any(array(select (i->>'uid')::uuid from jsonb_array_elements(items) i))
      order by uid for update;
    clock := otpost_now();
    for it in
        select * from jsonb_to_recordset(items) as i(ix int, uid uuid, n smallint, carrier text, verdict text,
            reason text, carrier_code text, reference text) order by i.uid
    loop
        select * into d from dispatch where uid = it.uid;
        a := null;
        if d.n = it.n then
            a.carrier := d.carrier; a.outcome := d.outcome; a.receipt := d.receipt;
        elsif d.n > it.n then
            select * into a from attempt where uid = it.uid and n = it.n for update;
        end if;
        if a.carrier is distinct from it.carrier then
            insert into stray_receipt values (it.uid, it.n, it.carrier, jsonb_strip_nulls(jsonb_build_object(
                'verdict', it.verdict, 'reason', it.reason, 'carrier_code', it.carrier_code,
                'reference', it.reference)), clock) on conflict do nothing;
            results := results || jsonb_build_object('ix', it.ix, 'result', 'stray');
            continue;
        end if;
        counts := it.verdict = 'delivered' and a.receipt is distinct from 'delivered'
                  or it.verdict = 'bad' and a.receipt is null;
        learns := counts or a.outcome is distinct from 'accepted';
        if learns and d.n = it.n then
            update dispatch u set version = u.version + 1, wake_at = clock, outcome = 'accepted', detail = null,
                   retry_after_ms = null,
                   closed_at = coalesce(u.closed_at, clock), reference = coalesce(u.reference, it.reference),
                   corrected_reason = case when counts and u.receipt = 'bad' then u.receipt_reason else u.corrected_reason end,
                   corrected_code = case when counts and u.receipt = 'bad' then u.receipt_code else u.corrected_code end,
                   corrected_at = case when counts and u.receipt = 'bad' then u.receipt_at else u.corrected_at end,
                   receipt = case when counts then it.verdict else u.receipt end,
                   receipt_reason = case when counts then it.reason else u.receipt_reason end,
                   receipt_code = case when counts then it.carrier_code else u.receipt_code end,
                   receipt_at = case when counts then clock else u.receipt_at end
             where u.uid = it.uid;
        elsif learns then
            update attempt u set outcome = 'accepted', detail = null, retry_after_ms = null,
                   closed_at = coalesce(u.closed_at, clock), reference = coalesce(u.reference, it.reference),
                   corrected_reason = case when counts and u.receipt = 'bad' then u.receipt_reason else u.corrected_reason end,
                   corrected_code = case when counts and u.receipt = 'bad' then u.receipt_code else u.corrected_code end,
                   corrected_at = case when counts and u.receipt = 'bad' then u.receipt_at else u.corrected_at end,
                   receipt = case when counts then it.verdict else u.receipt end,
                   receipt_reason = case when counts then it.reason else u.receipt_reason end,
                   receipt_code = case when counts then it.carrier_code else u.receipt_code end,
                   receipt_at = case when counts then clock else u.receipt_at end
             where u.uid = it.uid and u.n = it.n;
            update dispatch u set version = u.version + 1, wake_at = clock where u.uid = it.uid;
        end if;
        results := results || jsonb_build_object('ix', it.ix, 'result', case when learns then 'recorded' else 'nothing_new' end);
    end loop;
    return results;
end $$;

-- Marks dispatches: no further request of theirs begins. The first mark stays, an open attempt's deadline too.
create function otpost_stop(items jsonb) returns jsonb
language plpgsql volatile set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    clock       timestamptz;
    results  jsonb;
begin
    perform from dispatch d where (d.tenant, d.id) in (
        select i.tenant, i.id from jsonb_to_recordset(items) as i(tenant text, id uuid)) order by uid for update;
    clock := otpost_now();
    with asked as (
        select * from jsonb_to_recordset(items) as i(ix int, tenant text, id uuid, stop text)
    ), done as (
        update dispatch d set stop = a.stop, version = d.version + 1,
               wake_at = case when d.n > 0 and d.outcome is null then d.wake_at else clock end
          from asked a where d.tenant = a.tenant and d.id = a.id and d.stop is null
           and d.state in ('queued', 'sending', 'sent') returning d.*
    )
    select jsonb_agg(jsonb_build_object('ix', a.ix, 'result', case
               when done.uid is not null then 'marked' when d.uid is null then 'unknown'
               when d.state not in ('queued', 'sending', 'sent') then 'final' else 'marked_before' end,
               'uid', d.uid, 'state', d.state, 'stop', coalesce(done.stop, d.stop)))
      into results
      from asked a left join dispatch d on d.tenant = a.tenant and d.id = a.id left join done on done.uid = d.uid;
    return results;
end $$;

-- Asks for the next step: it begins as soon as no attempt is open, whatever the time.
create function otpost_advance(items jsonb) returns jsonb
language plpgsql volatile set enable_seqscan = off as $$
declare
    clock    timestamptz;
    it       record;
    d        dispatch;
    result   text;
begin
    select * into it from jsonb_to_recordset(items) as i(tenant text, id uuid, step smallint);
    select * into d from dispatch where tenant = it.tenant and id = it.id for update;
    clock := otpost_now();
    result := case
        when d.uid is null then 'unknown'
        when d.state not in ('queued', 'sending', 'sent') then 'final'
        when d.stop is not null then 'stopped'
        when it.step < d.step then 'before'
        when d.asked >= d.step and not coalesce(d.attempt_step >= d.asked and d.outcome is not null, false)
             and not exists (select from attempt a where a.uid = d.uid and a.step >= d.asked) then 'pending'
        when d.step >= cardinality(d.plan) then 'plan_over'
        else 'advanced' end;
    if result = 'advanced' then
        update dispatch u set asked = d.step + 1, version = d.version + 1,
               wake_at = case when d.n > 0 and d.outcome is null then d.wake_at else clock end
         where u.uid = d.uid;
    end if;
    return jsonb_build_array(jsonb_build_object('ix', 0, 'result', result, 'uid', d.uid, 'state', d.state, 'stop', d.stop));
end $$;

-- Takes dispatches by name: those that are due, each for a lease of 5 s.
create function otpost_take(uids uuid[]) returns setof jsonb
language plpgsql volatile set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare clock timestamptz := otpost_now();
begin
    return query
        update dispatch d set wake_at = clock + interval '5 seconds'
          from (select t.uid from dispatch t where t.uid = any(uids) and t.wake_at <= clock
                 order by t.uid for update skip locked) due
         where d.uid = due.uid returning otpost_row(d, clock);
end $$;

-- Takes what is due: first what was never begun, then the rest, the longest due first.
create function otpost_take_due(fresh integer, begun integer) returns setof jsonb
language plpgsql volatile set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare clock timestamptz := otpost_now();
begin
    return query
        update dispatch d set wake_at = clock + interval '5 seconds'
          from (select t.uid from dispatch t where t.wake_at <= clock and t.state = 'queued'
                 order by t.wake_at limit fresh for update skip locked) due
         where d.uid = due.uid returning otpost_row(d, clock);
    return query
        update dispatch d set wake_at = clock + interval '5 seconds'
          from (select t.uid from dispatch t where t.wake_at <= clock and t.state <> 'queued'
                 order by t.wake_at limit begun for update skip locked) due
         where d.uid = due.uid returning otpost_row(d, clock);
end $$;

-- What is still owed to the world, the longest owed first; told again after 5 s unless it is removed.
create function otpost_owed(most integer) returns setof jsonb
language plpgsql volatile set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare clock timestamptz := otpost_now();
begin
    return query
        update dispatch d set tell_at = clock + interval '5 seconds'
          from (select t.uid from dispatch t where t.tell_at <= clock order by t.tell_at limit most
                 for update skip locked) due
         where d.uid = due.uid
        returning jsonb_build_object('uid', d.uid, 'tenant', d.tenant, 'id', d.id, 'tags', d.tags,
                                     'traceparent', d.traceparent, 'events', d.owed);
end $$;

-- Removes what was told.
create function otpost_told(items jsonb) returns void
language plpgsql volatile set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    perform from dispatch where uid = any(array(select (i->>'uid')::uuid from jsonb_array_elements(items) i))
      order by uid for update;
    update dispatch d set owed = x.owed, tell_at = case when x.owed = '[]' then null else d.tell_at end
      from (select o.uid, coalesce((select jsonb_agg(e order by (e->>'version')::bigint) from jsonb_array_elements(o.owed) e
                                     where not (e->>'version')::bigint = any(i.versions)), '[]') as owed
              from jsonb_to_recordset(items) as i(uid uuid, versions bigint[]) join dispatch o on o.uid = i.uid) x
     where d.uid = x.uid;
end $$;

-- A tenant's events that are due at its webhook, the longest due first, each for a lease that is longer than any try.
create function otpost_hooks_due(whose text, most integer) returns setof jsonb
language plpgsql volatile set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare clock timestamptz := otpost_now();
begin
    return query
        update webhook w set due_at = clock + interval '30 seconds'
          from (select t.uid, t.version from webhook t where t.tenant = whose and t.due_at <= clock
                 order by t.due_at limit most for update skip locked) due
          join dispatch d on d.uid = due.uid
         where w.uid = due.uid and w.version = due.version
        returning jsonb_build_object('uid', d.uid, 'tenant', d.tenant, 'id', d.id, 'tags', d.tags,
                                     'traceparent', d.traceparent, 'events', jsonb_build_array(w.event), 'tries', w.tries);
end $$;
