//! Random sequences of actions of users, attackers and clocks. Invariants: no code is accepted twice, a challenge
//! accepts at most five wrong codes, and no user is verified without a proof. On `SQLite`, against a model of the sent
//! codes.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::Config as Cases;
use two_step::challenge::{Challenge, ChallengeState, Proof};
use two_step::flow::{Claimed, Created, DispatchEvent, Entered, Entry, FlowError, Redeemed};
use two_step::method::Channel;
use two_step::store::{DispatchState, OutboxKind};
use uuid::Uuid;

use support::user::{Authenticator, CreatedChallenge, User, last_part, ticket};
use support::world::{Backend, World};

/// An action. A number selects one of the existing challenges, codes or browsers.
#[derive(Debug, Clone)]
enum Action {
    Ask,
    Claim {
        challenge: usize,
        browser: usize,
    },
    Send {
        challenge: usize,
        browser: usize,
        call: bool,
    },
    /// Enters a sent code, of any challenge.
    Code {
        challenge: usize,
        browser: usize,
        code: usize,
    },
    Totp {
        challenge: usize,
        browser: usize,
        steps: i64,
    },
    Guess {
        challenge: usize,
        browser: usize,
        digits: u32,
    },
    Redeem {
        challenge: usize,
    },
    Cancel {
        challenge: usize,
        browser: usize,
    },
    Prove {
        browser: usize,
    },
    DispatchEvent {
        code: usize,
        sequence: i64,
        failed: bool,
    },
    Wait {
        seconds: u64,
    },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    // Few challenges and browsers, so that actions collide.
    let (challenge, browser) = (|| 0..6usize, || prop_oneof![4 => Just(0usize), 1 => Just(1usize)]);
    let action = prop_oneof![
        3 => Just(Action::Ask),
        4 => (challenge(), browser()).prop_map(|(challenge, browser)| Action::Claim { challenge, browser }),
        3 => (challenge(), browser(), any::<bool>())
            .prop_map(|(challenge, browser, call)| Action::Send { challenge, browser, call }),
        6 => (challenge(), browser(), 0..8usize)
            .prop_map(|(challenge, browser, code)| Action::Code { challenge, browser, code }),
        3 => (challenge(), browser(), -2..=2i64)
            .prop_map(|(challenge, browser, steps)| Action::Totp { challenge, browser, steps }),
        5 => (challenge(), browser(), 0..1_000_000u32)
            .prop_map(|(challenge, browser, digits)| Action::Guess { challenge, browser, digits }),
        2 => challenge().prop_map(|challenge| Action::Redeem { challenge }),
        1 => (challenge(), browser()).prop_map(|(challenge, browser)| Action::Cancel { challenge, browser }),
        1 => browser().prop_map(|browser| Action::Prove { browser }),
        2 => (0..8usize, 1..5i64, any::<bool>())
            .prop_map(|(code, sequence, failed)| Action::DispatchEvent { code, sequence, failed }),
        3 => prop_oneof![0..40u64, 100..700u64].prop_map(|seconds| Action::Wait { seconds }),
    ];
    prop::collection::vec(action, 1..60)
}

/// A sent code.
struct Sent {
    challenge: Uuid,
    dispatch: Uuid,
    digits: String,
}

/// The user, an attacker with the password, and the model.
struct Play {
    world: World,
    browsers: [User; 2],
    app: Authenticator,
    asked: Vec<CreatedChallenge>,
    wrong: Vec<(Uuid, u32)>,
    verified: BTreeSet<Uuid>,
    used_codes: BTreeSet<(Uuid, String)>,
    used_totp: BTreeSet<String>,
}

impl Play {
    async fn new() -> Self {
        let world = World::new(Backend::Sqlite).await;
        let (user, app) = User::with_phone(&world, "u1", 1).await;
        let attacker = user.elsewhere();
        for browser in [&user, &attacker] {
            browser.open_settings().await;
        }
        Self {
            world,
            browsers: [user, attacker],
            app,
            asked: vec![],
            wrong: vec![],
            verified: BTreeSet::new(),
            used_codes: BTreeSet::new(),
            used_totp: BTreeSet::new(),
        }
    }

    fn pick(&self, challenge: usize) -> Option<&CreatedChallenge> {
        if self.asked.is_empty() { None } else { self.asked.get(challenge % self.asked.len()) }
    }

    async fn sent(&self) -> Vec<Sent> {
        let jobs = self.world.outbox(OutboxKind::Dispatch).await;
        let of_challenges =
            jobs.iter().filter(|j| self.asked.iter().any(|a| j["tags"]["challenge"] == a.id.to_string()));
        let read = |text: &serde_json::Value| text.as_str().unwrap().to_owned();
        of_challenges
            .map(|j| Sent {
                challenge: read(&j["tags"]["challenge"]).parse().unwrap(),
                dispatch: support::world::id_of(j),
                digits: read(&j["code"]),
            })
            .collect()
    }

    async fn apply(&mut self, action: &Action) {
        let flows = self.world.core.clone();
        match *action {
            Action::Ask => match flows.create("shop", self.browsers[0].new_challenge()).await {
                Ok(Created::Challenge { id, url, .. }) => {
                    self.asked.push(CreatedChallenge { id, handle: last_part(&url) });
                }
                other => panic!("{other:?}"),
            },
            Action::Claim { challenge, browser } => {
                // A challenge of the settings has no URL.
                let Some(asked) = self.pick(challenge).filter(|a| !a.handle.is_empty()) else { return };
                let (claimed, cookie) = self.browsers[browser].claim(asked).await;
                assert_eq!(cookie, None);
                if let Claimed::Verified { .. } = claimed {
                    let row = self.browsers[browser].challenge(asked.id).await;
                    assert!(
                        self.verified.contains(&asked.id) || !is_verified(&row),
                        "opening the challenge should not verify it"
                    );
                }
            }
            Action::Send { challenge, browser, call } => {
                let Some(asked) = self.pick(challenge) else { return };
                let channel = if call { Channel::Voice } else { Channel::Sms };
                match flows.send(asked.id, &self.browsers[browser].requester(), None, Some(channel)).await {
                    Ok(_) | Err(FlowError::Missing("challenge")) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            Action::Code { challenge, browser, code } => {
                let (Some(id), sent) = (self.pick(challenge).map(|a| a.id), self.sent().await) else {
                    return;
                };
                let Some(code) = sent.get(sent.len().saturating_sub(1 + code)) else { return };
                let fits = sent.iter().any(|s| s.challenge == id && s.digits == code.digits);
                self.enter(id, browser, None, &code.digits, fits).await;
            }
            Action::Totp { challenge, browser, steps } => {
                let Some(id) = self.pick(challenge).map(|a| a.id) else { return };
                let digits = self.app.code_at(&self.world, steps).await;
                let method = self.app.method;
                let fits = steps.abs() <= 1 && !self.used_totp.contains(&digits);
                self.enter(id, browser, Some(method), &digits, fits).await;
            }
            Action::Guess { challenge, browser, digits } => {
                let Some(id) = self.pick(challenge).map(|a| a.id) else { return };
                let digits = format!("{digits:06}");
                if self.sent().await.iter().any(|s| s.digits == digits) {
                    return;
                }
                self.enter(id, browser, None, &digits, false).await;
            }
            Action::Redeem { challenge } => {
                let Some(asked) = self.pick(challenge) else { return };
                let row = self.browsers[0].challenge(asked.id).await;
                let Some(location) = flows.location(&row).filter(|l| l.contains("ticket=")) else { return };
                let redeemed = self.browsers[0].redeem(&ticket(&location)).await;
                assert!(self.verified.contains(&asked.id) || redeemed == Redeemed::Over);
            }
            Action::Cancel { challenge, browser } => {
                let Some(asked) = self.pick(challenge) else { return };
                let _ = flows.cancel(asked.id, &self.browsers[browser].requester()).await;
            }
            Action::Prove { browser } => {
                if let Ok(id) = flows.open_proof_challenge(&self.browsers[browser].visit).await
                    && !self.asked.iter().any(|a| a.id == id)
                {
                    self.asked.push(CreatedChallenge { id, handle: String::new() });
                }
            }
            Action::DispatchEvent { code, sequence, failed } => {
                let sent = self.sent().await;
                let Some(sent) = sent.get(sent.len().saturating_sub(1 + code)) else { return };
                let state = if failed { DispatchState::Failed } else { DispatchState::Delivered };
                let channel = Some(Channel::Sms);
                let dispatch = sent.dispatch;
                let event =
                    DispatchEvent { dispatch, sequence, state, channel, reason: None, retry_after_s: None };
                flows.receive_event(&event).await.unwrap();
            }
            Action::Wait { seconds } => self.world.advance(seconds),
        }
    }

    async fn enter(&mut self, id: Uuid, browser: usize, method: Option<Uuid>, digits: &str, fits: bool) {
        let user = &self.browsers[browser];
        let owner = user.challenge(id).await.browser_hash;
        let entry = Entry { text: digits.to_owned(), method, trust: false, ..Entry::default() };
        let entered = match user.try_entry(id, entry).await {
            Ok(entered) => entered,
            Err(FlowError::Missing("challenge")) => {
                assert_ne!(
                    owner,
                    Some(self.world.core.browser_hash(&user.visit.browser)),
                    "its own challenge"
                );
                return;
            }
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(
            owner,
            Some(self.world.core.browser_hash(&user.visit.browser)),
            "another browser's challenge"
        );
        let row = user.challenge(id).await;
        match entered {
            Entered::Verified { .. } if self.verified.contains(&id) => {}
            Entered::Verified { .. } => {
                assert!(fits, "{digits} was never sent for this challenge, or is used up");
                self.verified.insert(id);
                match row.proof.unwrap() {
                    Proof::Totp => {
                        assert!(self.used_totp.insert(digits.to_owned()), "an authenticator's code twice");
                    }
                    _ => assert!(self.used_codes.insert((id, digits.to_owned())), "a code twice"),
                }
            }
            Entered::Wrong { left, .. } => {
                let wrong = self.count_wrong(id);
                assert_eq!(left, 5 - wrong);
            }
            Entered::Ended { state: ChallengeState::Locked, .. } if row.wrong > self.wrong_of(id) => {
                assert_eq!(self.count_wrong(id), 5);
            }
            Entered::Ended { .. } | Entered::Paused { .. } => {}
            Entered::Unreadable => panic!("six digits"),
        }
        assert_eq!(row.wrong, self.wrong_of(id), "the answers match the stored count");
    }

    fn wrong_of(&self, id: Uuid) -> u32 {
        self.wrong.iter().find(|(c, _)| *c == id).map_or(0, |(_, wrong)| *wrong)
    }

    fn count_wrong(&mut self, id: Uuid) -> u32 {
        let wrong = self.wrong_of(id) + 1;
        assert!(wrong <= 5);
        self.wrong.retain(|(c, _)| *c != id);
        self.wrong.push((id, wrong));
        wrong
    }

    /// Compares the final rows with the model.
    async fn check(&self) {
        let known: Vec<Uuid> = self.asked.iter().map(|a| a.id).collect();
        for row in self.world.rows::<Challenge>("", &[]).await.iter().filter(|c| known.contains(&c.id)) {
            assert_eq!(is_verified(row), self.verified.contains(&row.id), "{row:?}");
            assert_eq!(row.wrong, self.wrong_of(row.id));
            assert!(row.sends <= 5 && row.calls <= 3);
            assert!(!(row.wrong == 5 && is_verified(row)));
        }
        assert_eq!(self.world.events("challenge.verified").await, self.verified.len());
    }
}

fn is_verified(challenge: &Challenge) -> bool {
    use ChallengeState::{Lapsed, Redeemed, Verified};
    matches!(challenge.state, Verified | Redeemed | Lapsed)
}

proptest! {
    #![proptest_config(Cases { cases: 128, failure_persistence: None, ..Cases::default() })]
    #[test]
    fn invariants_hold_for_any_sequence_of_actions(actions in actions()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut play = Play::new().await;
            for action in &actions {
                play.apply(action).await;
            }
            play.check().await;
        });
    }
}
