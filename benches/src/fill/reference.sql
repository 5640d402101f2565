create temporary table old on commit drop as
select gen_random_uuid() as id, '+4477' || lpad(i::text, 8, '0') as number, now() - interval '1 hour' - (:rows - i) * interval '20 ms' as at
  from generate_series(:first, :last) i;
insert into worker_dispatch select id, number, at + interval '10 minutes', 'delivered', gen_random_uuid(), at, 'SM' || md5(number), at + interval '50 ms' from old;
insert into worker_quota select number, array[at] from old;
