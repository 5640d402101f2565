insert into worker_dispatch
select gen_random_uuid(), '+4477' || lpad(i::text, 8, '0'), at + interval '10 minutes', gen_random_uuid(), 'delivered',
       'SM' || md5(i::text), at, at + interval '50 ms'
  from generate_series(:first, :last) i, lateral (select now() - interval '1 hour' - (:rows - i) * interval '20 ms' as at) t;
