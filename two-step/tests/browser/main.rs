//! The pages in a real Chromium, with a real RabbitMQ and a real PostgreSQL between two-step and otpost. Codes are read
//! from the mock carrier's API, mail from the demo's mailbox. Each scenario is a file in `scenarios/`, driven by
//! Playwright.

mod stack;

use stack::Stack;

macro_rules! scenarios {
    ($($name:ident $(with [$($option:literal),+])?),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let options = [$($($option.to_owned()),+)?];
            Stack::start(&options).await.run_scenario(concat!("browser/scenarios/", stringify!($name)), &[]);
        }
    )+};
}

scenarios! {
    set_up_by_text_and_sign_in_on_a_new_browser,
    a_trusted_device_skips_the_code_until_sign_out,
    an_authenticator_is_set_up_and_used,
    set_up_by_call,
    a_call_instead_of_the_text,
    a_call_before_the_text_has_arrived,
    five_wrong_codes_lock_the_challenge_and_the_page_shows_it,
    a_lost_phone_and_a_recovery_code,
    off_and_on_again_with_a_kept_phone,
    everything_works_without_javascript,
    invalid_numbers_and_codes_get_clear_errors,
    back_reload_and_double_submit,
    forms_of_other_sites_are_refused,
    the_stop_page_of_a_notice_stops_a_change,
    no_page_has_an_accessibility_violation,
    an_undelivered_text_is_followed_by_a_call,
    later_codes_for_a_landline_come_by_call,
    a_new_browser_needs_a_code_by_e_mail with ["--set", "products.shop.new_device_check = \"email\""],
    an_e_mail_address_gets_notices,
    a_code_by_e_mail_as_a_second_step with ["--set", "email.second_step = true"],
    support_sends_a_code_and_the_user_signs_in,
    a_paused_phone_is_used_again_after_a_code,
    support_waits_and_a_second_agent_ends_the_delay,
    the_page_shows_a_pause_and_support_ends_it,
    it_was_not_me_ends_sign_ins_and_settings,
    the_keyboard_alone_signs_in,
    a_second_phone_is_offered_as_another_method,
    the_wizard_requires_a_backup,
    turning_on_lists_unconfirmed_methods,
    filled_in_and_pasted_codes_are_accepted,
    trusted_devices_are_revoked_one_by_one_and_all_at_once,
    two_users_share_a_browser,
    an_earlier_code_is_accepted_after_send_again,
    the_app_is_set_up_approves_and_denies,
    a_second_phone_gets_the_app_and_the_lost_one_is_removed,
    one_app_serves_two_products with ["--set", "products.bank = { name = \"Bank\", return_urls = [\"http://localhost/bank\"], countries = [\"GB\"], app = {} }"],
    a_refused_text_ends_the_wait with ["--set", "limits.send_gaps_s = [60]"],
    the_history_lists_changes with ["--set", "products.shop.colour = \"#7a1fa2\""],
}
