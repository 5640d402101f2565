//! One of the services hangs, and rows for the others must not wait for it.

use std::time::Duration;

use tokio::time::Instant;

use crate::checker;
use crate::journal::ObservedResult;
use crate::killed::prepared;
use crate::outages::Outage;
use crate::site::Transport;
use crate::wait;

/// Maximum time until a text arrives, whichever service hangs.
const MAX_TEXT_DELAY: Duration = Duration::from_secs(4);

/// Fails with one queue for all kinds of rows and without a mail time-out, because then no text arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_mail_server_hangs_mails_wait_and_texts_do_not() {
    outage_of_the_mail_server(Outage::Hanging).await;
}

async fn outage_of_the_mail_server(outage: Outage) {
    let (site, user, _otpost, _two_step) = prepared(Transport::Amqp).await;
    let address = "somebody@mail.example";
    let mut browser = crate::user::request_code_by_email(&site, "zoe", address).await;
    let first = wait::answer("the first mail", async || site.mailbox.emails(address).pop()).await;
    site.journal.secret("code", &first.code().unwrap());
    let work = async {
        browser.send("/settings/email", &[("change", "yes")]).await.unwrap();
        browser.send("/settings/email", &[("address", address)]).await.unwrap();
        let taken = async || site.outbox("kind = 'mail' and tries > 0").await == 1;
        wait::until("the relay has taken the mail", taken).await;
        let asked = Instant::now();
        let (challenge, before) = user.request_code(&site).await;
        let code = site.phones.code_after(&user.number, before).await;
        let waited = asked.elapsed();
        assert!(waited < MAX_TEXT_DELAY, "a text waited {waited:?} for the mail server");
        println!("a text took {waited:?} during the outage");
        assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
    };
    outage.during(&site, &site.links.mail, work).await;
    let second = wait::answer("the second mail", async || site.mailbox.emails(address).get(1).cloned()).await;
    let code = second.code().unwrap();
    site.journal.secret("code", &code);
    browser.send("/settings/email", &[("code", &code)]).await.unwrap();
    assert_eq!(browser.url.path(), "/settings", "the code is right: {}", browser.page);
    assert_eq!(site.mailbox.emails(address).len(), 2, "each mail once");
    checker::check(&site).await;
}

/// A webhook receiver that hangs delays no text, and gets every event afterwards.
///
/// Fails with one queue for all kinds of rows, because then the sign-in takes 10 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_webhook_receiver_hangs_texts_do_not_wait() {
    let (site, user, _otpost, _two_step) = prepared(Transport::Amqp).await;
    site.receiver.hang(true);
    site.journal.fault();
    user.sign_in(&site).await;
    wait::until("a webhook request is in progress", async || {
        site.outbox("kind = 'webhook' and tries > 0").await > 0
    })
    .await;
    let asked = Instant::now();
    user.sign_in(&site).await;
    let waited = asked.elapsed();
    assert!(waited < MAX_TEXT_DELAY, "a sign-in waited {waited:?} for the receiver");
    println!("a sign-in took {waited:?} during the outage");
    site.receiver.hang(false);
    checker::check(&site).await;
}

mod long {
    use super::*;

    /// Fails if rows are deleted before they are published, because then the mail is lost.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn while_the_mail_server_refuses_mails_wait() {
        outage_of_the_mail_server(Outage::Refused).await;
    }
}
