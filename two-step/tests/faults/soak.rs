//! Injects random faults by seed, while users sign in by pages and API on two processes.

mod long {
    use std::time::Duration;

    use tokio::sync::Mutex;
    use tokio::time::Instant;

    use crate::backend::Backend;
    use crate::checker;
    use crate::journal::ObservedResult;
    use crate::killed::kill_otpost;
    use crate::process::Process;
    use crate::seed::Seed;
    use crate::site::{Addresses, Site, Transport};
    use crate::user::{User, none_of};
    use crate::wait;

    const DURATION: Duration = Duration::from_secs(120);
    const USERS: usize = 4;
    /// Time after which a user stops waiting for a code.
    const CODE_TIMEOUT: Duration = Duration::from_secs(20);

    #[derive(Debug, Clone, Copy)]
    enum Fault {
        KillFirst,
        KillSecond,
        KillOtpost,
        BrokerRefuses,
        BrokerHangs,
        BrokerResets,
        DatabaseRefuses,
        DatabaseHangs,
        DatabaseResets,
        DatabaseIsSlow,
    }

    /// By weight.
    const FAULTS: [(u64, Fault); 10] = [
        (3, Fault::KillFirst),
        (3, Fault::KillSecond),
        (1, Fault::KillOtpost),
        (1, Fault::BrokerRefuses),
        (1, Fault::BrokerHangs),
        (2, Fault::BrokerResets),
        (1, Fault::DatabaseRefuses),
        (1, Fault::DatabaseHangs),
        (2, Fault::DatabaseResets),
        (1, Fault::DatabaseIsSlow),
    ];

    struct Running {
        first: Option<Process>,
        second: Option<Process>,
        otpost: Option<Process>,
    }

    /// One sign-in of a user, which stops at the first fault.
    async fn attempt(site: &Site, user: &User, backend: &Backend, seed: &mut Seed) {
        let before = user.codes(site).await;
        let created = backend.create(&user.name).await;
        if created.status != Some(201) {
            return;
        }
        let challenge = created.id();
        if backend.send(challenge, user.phone).await.status != Some(202) {
            return;
        }
        let arrived = async || site.phones.codes(&user.number).await.get(before).cloned();
        let Some(code) = wait::within(CODE_TIMEOUT, arrived).await else { return };
        let all = site.phones.codes(&user.number).await;
        if seed.below(4) == 0 {
            backend.verify(challenge, &none_of(&all), false).await;
        }
        // A late code of an earlier sign-in may arrive instead. Then it is wrong, and counted.
        for _ in 0..3 {
            backend.show(challenge).await;
            let newest = site.phones.codes(&user.number).await.pop().unwrap_or_else(|| code.clone());
            if backend.verify(challenge, &newest, true).await == ObservedResult::Verified {
                return;
            }
        }
    }

    /// Injects a fault, and repairs it.
    async fn break_once(site: &Site, running: &Mutex<Running>, addresses: Addresses, seed: &mut Seed) {
        let fault = seed.one_of(&FAULTS);
        let length = Duration::from_millis(200 + seed.below(4000));
        println!("{fault:?} for {length:?}");
        site.journal.fault();
        let (broker, database) = (&site.links.broker, &site.links.database);
        let mut running = running.lock().await;
        match fault {
            Fault::KillFirst => running.first.take().into_iter().for_each(Process::kill),
            Fault::KillSecond => running.second.take().into_iter().for_each(Process::kill),
            Fault::KillOtpost => {
                running.otpost.take().into_iter().for_each(|p| kill_otpost(p, &site.journal));
            }
            Fault::BrokerRefuses => {
                broker.refuse(true);
                broker.cut();
            }
            Fault::BrokerHangs => broker.stall(),
            Fault::BrokerResets => broker.reset(),
            Fault::DatabaseRefuses => {
                database.refuse(true);
                database.cut();
            }
            Fault::DatabaseHangs => database.stall(),
            Fault::DatabaseResets => database.reset(),
            Fault::DatabaseIsSlow => database.delay(Duration::from_millis(20)),
        }
        tokio::time::sleep(length).await;
        broker.pass();
        database.pass();
        if running.first.is_none() {
            running.first = Some(site.start().await);
        }
        if running.second.is_none() {
            running.second = Some(site.start_with("second", addresses, &[]).await);
        }
        if running.otpost.is_none() {
            running.otpost = Some(site.start_otpost().await);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn random_faults_break_no_invariant() {
        let site = Site::build(Transport::Amqp).await;
        site.tap.bind("otpost", &["dispatch", "next", "cancel", "feedback"]).await;
        let addresses = Addresses::reserve();
        let running = Mutex::new(Running {
            otpost: Some(site.start_otpost().await),
            first: Some(site.start().await),
            second: Some(site.start_with("second", addresses, &[]).await),
        });
        let there = site.backend.at(addresses.api);
        let mut users = vec![];
        for n in 0..USERS {
            users.push(User::set_up(&site, &format!("user{n}")).await);
        }
        let end = Instant::now() + DURATION;
        let signing_in = users.iter().enumerate().map(async |(n, user)| {
            let mut seed = Seed::of(&format!("user {n}"));
            while Instant::now() < end {
                let backend = if seed.below(2) == 0 { &site.backend } else { &there };
                attempt(&site, user, backend, &mut seed).await;
                // Without an answer, wait before the next attempt to save processor time.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let breaking = async {
            let mut seed = Seed::of("random_faults_break_no_invariant");
            while Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(500 + seed.below(2500))).await;
                break_once(&site, &running, addresses, &mut seed).await;
            }
        };
        tokio::join!(futures_util::future::join_all(signing_in), breaking);
        checker::check(&site).await;
        let verified =
            site.journal.notes().entries.iter().filter(|e| e.observed == ObservedResult::Verified).count();
        println!("{verified} sign-ins");
        assert!(verified > 20, "most sign-ins should succeed: {verified}");
    }
}
