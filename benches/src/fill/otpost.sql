-- Texts that ended an hour ago and began before, 50 a second, most of them delivered: one dispatch and one quota each, in the form
-- that otpost writes. `hash` is as long as a keyed hash, `sealed` as long as a sealed number.
create temporary table old on commit drop as
select i, at, lpad(i::text, 8, '0') as digits, md5(i::text) as hex, i % 25 <> 0 as arrived,
       rtrim(translate(encode(decode(md5(i::text), 'hex'), 'base64'), '+/', '-_'), '=') as hash,
       'v1.k1.' || translate(encode(decode(repeat(md5(i::text), 3), 'hex'), 'base64'), E'+/\n', '-_') || 'x7A3b1Q' as sealed
  from generate_series(:first, :last) i, lateral (select now() - interval '1 hour' - (:rows - i) * interval '20 ms' as at) t;

insert into dispatch (uid, tenant, id, content, number_key, mask, number, country, plan, expires_at, fallback_after_s,
        template, tags, admitted_at, version, state, reason, step, step_at, snoozes, sent_event_steps, quota_uses,
        holds_quota_uses, n, attempt_step, channel, carrier, claim, begun_at, deadline, closed_at, outcome, message_id, segments,
        receipt, receipt_reason, receipt_code, receipt_at)
select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || left(hex, 3) || 'b' || substr(hex, 4, 15))::uuid,
       'default', gen_random_uuid(), hash, reverse(hash), '+44••••••••' || right(digits, 2), sealed, 'GB', 'sms',
       at + interval '10 minutes', 30, 'code', '{}', at, 4, case when arrived then 'delivered' else 'undelivered' end,
       case when not arrived then 'unreachable' end, 1, at, 0, 1, jsonb_build_array(jsonb_build_object('key', hash, 'at', at))::text,
       true, 1, 1, 'sms', 'bench', gen_random_uuid(), at, at + interval '15 seconds', at + interval '50 ms', 'accepted',
       'SM' || hex, 1, case when arrived then 'delivered' else 'bad' end, case when not arrived then 'unreachable' end,
       case when not arrived then '30003' end, at + interval '4 seconds'
  from old;

insert into quota select hash, int8send((extract(epoch from at) * 1000000)::bigint), (at + interval '32 days')::date from old;
