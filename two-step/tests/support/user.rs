//! A user of the shop with a browser. Uses only the public flows.

use two_step::challenge::{Challenge, SendRefused};
use two_step::flow::{
    Change, Claimed, Created, Entered, Entry, FlowError, NewChallenge, NewSession, Redeemed, Requester,
    SessionClaimed, Visit,
};
use two_step::method::Channel;
use two_step::seal::random_token;
use two_step::store::SessionPurpose;
use two_step::totp;
use uuid::Uuid;

use super::world::{ALL_LIMITS_FREE_S, RETURN_URL, World};

/// A user with one browser. A clone is the same user in the same browser.
#[derive(Clone)]
pub struct User {
    pub world: World,
    pub name: String,
    pub visit: Visit,
}

/// An authenticator app.
#[derive(Clone)]
pub struct Authenticator {
    pub method: Uuid,
    key: Vec<u8>,
}

/// A created challenge, before the browser claims it.
pub struct CreatedChallenge {
    pub id: Uuid,
    pub handle: String,
}

/// Returns a number that is unique for `n`, with a unique prefix.
pub fn number(n: u32) -> String {
    format!("07{:05}0123", 70_000 + n)
}

/// Returns the last part of a URL.
pub fn last_part(url: &str) -> String {
    url.rsplit('/').next().unwrap().to_owned()
}

/// Returns the ticket of a return URL.
pub fn ticket(location: &str) -> String {
    let query = location.split_once('?').unwrap().1;
    form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == "ticket").unwrap().1.into_owned()
}

/// Returns a six-digit code that is not this one.
pub fn other_code(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

impl Authenticator {
    /// Creates an authenticator with a key in base32.
    pub fn with_key(method: Uuid, key: &str) -> Self {
        Self { method, key: from_base32(key) }
    }

    pub async fn code(&self, world: &World) -> String {
        self.code_at(world, 0).await
    }

    /// Returns the code of a phone whose clock is ahead by this many steps.
    pub async fn code_at(&self, world: &World, steps: i64) -> String {
        totp::at_step(&self.key, world.now().await.as_second().div_euclid(totp::STEP_S) + steps)
    }
}

impl User {
    /// Creates a user without methods.
    pub fn new(world: &World, name: &str) -> Self {
        let visit =
            Visit { browser: random_token(), agent: "Firefox on Linux".to_owned(), ..Visit::default() };
        Self { world: world.clone(), name: name.to_owned(), visit }
    }

    /// Creates a user who signs in by text, with an authenticator as backup.
    pub async fn with_phone(world: &World, name: &str, n: u32) -> (Self, Authenticator) {
        let user = Self::new(world, name);
        user.open_settings().await;
        let phone = user.add_phone(&number(n)).await;
        let authenticator = user.add_authenticator().await;
        assert_eq!(user.turn_on(false).await, None);
        world.core.change(&user.visit, phone, &Change::Prefer).await.unwrap().unwrap();
        world.advance(ALL_LIMITS_FREE_S);
        (user, authenticator)
    }

    /// Creates a user who signs in by text, with recovery codes as backup.
    pub async fn with_recovery_codes(world: &World, name: &str, n: u32) -> (Self, Vec<String>) {
        let user = Self::new(world, name);
        user.open_settings().await;
        user.add_phone(&number(n)).await;
        let codes = user.save_recovery_codes().await;
        user.turn_on(false).await;
        world.advance(ALL_LIMITS_FREE_S);
        (user, codes)
    }

    /// Returns the same user with another browser.
    pub fn elsewhere(&self) -> Self {
        Self { world: self.world.clone(), ..Self::new(&self.world, &self.name) }
    }

    /// Returns the same user under another configuration.
    pub fn at(&self, world: &World) -> Self {
        Self { world: world.clone(), ..self.clone() }
    }

    pub fn requester(&self) -> Requester {
        Requester::Browser(self.visit.clone())
    }

    // Settings.

    pub async fn new_session(&self) -> NewSession {
        NewSession {
            user: self.name.clone(),
            purpose: SessionPurpose::Settings,
            password_at: self.world.now().await,
            return_url: RETURN_URL.to_owned(),
            state: None,
            display_name: None,
            locale: None,
            client_ip: None,
            email: None,
        }
    }

    /// Signs in at the shop and opens the settings.
    pub async fn open_settings(&self) {
        let opened = self.world.core.open_session("shop", self.new_session().await).await.unwrap();
        let claimed = self.world.core.claim_session(&last_part(&opened.url), &self.visit).await.unwrap();
        assert_eq!(claimed, SessionClaimed::Settings);
    }

    /// Gives a fresh proof to the settings with the texted code.
    pub async fn prove_to_settings(&self) {
        let challenge = self.world.core.open_proof_challenge(&self.visit).await.unwrap();
        let code = self.world.code(challenge).await;
        self.must_verify(challenge, &code).await;
    }

    /// Adds a phone by text. Returns its method.
    pub async fn add_phone(&self, number: &str) -> Uuid {
        let challenge = self.begin_phone(number).await;
        let code = self.world.code(challenge).await;
        self.must_verify(challenge, &code).await;
        self.challenge(challenge).await.method.unwrap()
    }

    /// Requests the first code of a phone. Returns the challenge of the enrolment.
    pub async fn begin_phone(&self, number: &str) -> Uuid {
        self.world.core.add_phone(&self.visit, number, "GB", Channel::Sms).await.unwrap().unwrap()
    }

    pub async fn add_authenticator(&self) -> Authenticator {
        let new = self.world.core.add_authenticator(&self.visit).await.unwrap().unwrap();
        let authenticator = Authenticator::with_key(new.method, &new.key);
        let code = authenticator.code(&self.world).await;
        self.must_verify(new.challenge, &code).await;
        authenticator
    }

    pub async fn save_recovery_codes(&self) -> Vec<String> {
        let codes = self.world.core.create_recovery_codes(&self.visit).await.unwrap();
        self.world.core.recovery_codes_saved(&self.visit).await.unwrap();
        codes.iter().map(|code| (**code).clone()).collect()
    }

    /// Turns two-step verification on. Returns the device's cookie if the browser is trusted.
    pub async fn turn_on(&self, trust: bool) -> Option<String> {
        self.world.core.turn_on(&self.visit, trust).await.unwrap().unwrap()
    }

    // Challenges.

    pub fn new_challenge(&self) -> NewChallenge {
        NewChallenge {
            user: self.name.clone(),
            return_url: Some(RETURN_URL.to_owned()),
            state: Some("s1".to_owned()),
            nonce: Some("n1".to_owned()),
            ..NewChallenge::default()
        }
    }

    /// Creates a challenge for a sign-in, after the shop has checked the password.
    pub async fn create_challenge(&self) -> CreatedChallenge {
        match self.world.core.create("shop", self.new_challenge()).await.unwrap() {
            Created::Challenge { id, url, .. } => CreatedChallenge { id, handle: last_part(&url) },
            other => panic!("a challenge should be created: {other:?}"),
        }
    }

    pub async fn claim(&self, asked: &CreatedChallenge) -> (Claimed, Option<String>) {
        self.world.core.claim(&asked.handle, &self.visit).await.unwrap()
    }

    /// Signs in up to the code field. Returns the challenge.
    pub async fn open_challenge(&self) -> Uuid {
        let asked = self.create_challenge().await;
        assert_eq!(self.claim(&asked).await.0, Claimed::Open { challenge: asked.id });
        asked.id
    }

    pub async fn challenge(&self, id: Uuid) -> Challenge {
        self.world.row(id).await
    }

    pub async fn try_entry(&self, challenge: Uuid, entry: Entry) -> Result<Entered, FlowError> {
        self.world.core.enter(challenge, &self.requester(), &entry).await
    }

    pub async fn enter(&self, challenge: Uuid, text: &str) -> Entered {
        self.try_entry(challenge, Entry { text: text.to_owned(), ..Entry::default() }).await.unwrap()
    }

    /// Enters a text for the method that the page shows.
    pub async fn enter_for(&self, challenge: Uuid, method: Uuid, text: &str) -> Entered {
        let entry = Entry { text: text.to_owned(), method: Some(method), ..Entry::default() };
        self.try_entry(challenge, entry).await.unwrap()
    }

    /// Enters a right code. Returns the redirect URL, if any.
    pub async fn must_verify(&self, challenge: Uuid, text: &str) -> Option<String> {
        verified(self.enter(challenge, text).await)
    }

    /// Enters a right code and trusts the browser, which stores the cookie.
    pub async fn verify_and_trust(&mut self, challenge: Uuid, text: &str) -> String {
        let entry = Entry { text: text.to_owned(), trust: true, ..Entry::default() };
        match self.try_entry(challenge, entry).await.unwrap() {
            Entered::Verified { location, cookie: Some(cookie), .. } => {
                self.visit.device = Some(cookie);
                location.unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Signs in by text. Returns the ticket.
    pub async fn sign_in(&self) -> String {
        let challenge = self.open_challenge().await;
        let code = self.world.code(challenge).await;
        ticket(&self.must_verify(challenge, &code).await.unwrap())
    }

    /// Enters this many wrong codes.
    pub async fn enter_wrong(&self, challenge: Uuid, times: usize) -> Entered {
        let mut entered = None;
        for _ in 0..times {
            entered = Some(self.enter(challenge, &other_code(&self.world.code(challenge).await)).await);
        }
        entered.unwrap()
    }

    pub async fn send(&self, challenge: Uuid, channel: Channel) -> Result<(), SendRefused> {
        self.world.core.send(challenge, &self.requester(), None, Some(channel)).await.unwrap()
    }

    pub async fn redeem(&self, ticket: &str) -> Redeemed {
        self.world.core.redeem("shop", ticket).await.unwrap()
    }
}

/// Returns the redirect URL after a right code.
pub fn verified(entered: Entered) -> Option<String> {
    match entered {
        Entered::Verified { location, .. } => location,
        other => panic!("not verified: {other:?}"),
    }
}

/// The bytes of a key as an app reads them (RFC 4648, section 6).
fn from_base32(text: &str) -> Vec<u8> {
    let (mut out, mut bits, mut held) = (vec![], 0u32, 0);
    for c in text.bytes() {
        let value = if c.is_ascii_uppercase() { c - b'A' } else { c - b'2' + 26 };
        bits = (bits << 5) | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out
}
