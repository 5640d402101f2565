-- Quotas of numbers that got one text, in the form that otpost writes.
insert into quota
select rtrim(translate(encode(decode(md5(i::text), 'hex'), 'base64'), '+/', '-_'), '='),
       int8send((extract(epoch from at) * 1000000)::bigint), (at + interval '32 days')::date
  from generate_series(:first, :last) i, lateral (select now() - interval '1 hour' - (:rows - i) * interval '20 ms' as at) t;
