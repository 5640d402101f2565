//! The texts of notices.

/// Returns the subject and the sentence for a kind of notice.
pub fn words(about: &str, german: bool) -> (&'static str, &'static str) {
    match (about, german) {
        ("method_added", false) => ("A method was added", "A sign-in method was added to your account."),
        ("method_added", true) => {
            ("Eine Methode wurde hinzugefügt", "Ihrem Konto wurde eine Anmeldemethode hinzugefügt.")
        }
        ("method_removed", false) => {
            ("A method was removed", "A sign-in method was removed from your account.")
        }
        ("method_removed", true) => {
            ("Eine Methode wurde entfernt", "Aus Ihrem Konto wurde eine Anmeldemethode entfernt.")
        }
        ("turned_on", false) => {
            ("Two-step verification is on", "Two-step verification was turned on for your account.")
        }
        ("turned_on", true) => (
            "Die Bestätigung in zwei Schritten ist an",
            "Für Ihr Konto wurde die Bestätigung in zwei Schritten eingeschaltet.",
        ),
        ("turned_off", false) => {
            ("Two-step verification is off", "Two-step verification was turned off for your account.")
        }
        ("turned_off", true) => (
            "Die Bestätigung in zwei Schritten ist aus",
            "Für Ihr Konto wurde die Bestätigung in zwei Schritten ausgeschaltet.",
        ),
        ("recovery_used", false) => {
            ("A recovery code was used", "Somebody signed in to your account with a recovery code.")
        }
        ("recovery_used", true) => (
            "Ein Wiederherstellungscode wurde benutzt",
            "Jemand hat sich mit einem Wiederherstellungscode an Ihrem Konto angemeldet.",
        ),
        ("recovery_renewed", false) => {
            ("New recovery codes", "New recovery codes were made for your account. The old ones are void.")
        }
        ("recovery_renewed", true) => (
            "Neue Wiederherstellungscodes",
            "Für Ihr Konto wurden neue Wiederherstellungscodes erstellt. Die alten gelten nicht mehr.",
        ),
        ("paused", false) => (
            "Sign-in is paused",
            "Too many wrong codes were entered for your account. Somebody may know your password.",
        ),
        ("paused", true) => (
            "Die Anmeldung ist unterbrochen",
            "Für Ihr Konto wurden zu viele falsche Codes eingegeben. Vielleicht kennt jemand Ihr Passwort.",
        ),
        ("method_paused", false) => (
            "A method was paused",
            "A sign-in method of your account was paused. You can sign in with another one.",
        ),
        ("method_paused", true) => (
            "Eine Methode wurde pausiert",
            "Eine Anmeldemethode Ihres Kontos wurde pausiert. Sie können sich mit einer anderen anmelden.",
        ),
        ("key_changed", false) => {
            ("An app has a new key", "The app that confirms your sign-ins has changed its key.")
        }
        ("key_changed", true) => (
            "Eine App hat einen neuen Schlüssel",
            "Die App, die Ihre Anmeldungen bestätigt, hat ihren Schlüssel gewechselt.",
        ),
        ("method_resumed", false) => {
            ("A method is used again", "A paused sign-in method of your account is used again.")
        }
        ("method_resumed", true) => (
            "Eine Methode wird wieder genutzt",
            "Eine pausierte Anmeldemethode Ihres Kontos wird wieder genutzt.",
        ),
        ("support_asked", false) => (
            "Support was asked to change your account",
            "Support was asked to help somebody who says that this is their account.",
        ),
        ("support_asked", true) => (
            "Der Support wurde um eine Änderung gebeten",
            "Der Support wurde gebeten, jemandem zu helfen, der sagt, dass dies sein Konto ist.",
        ),
        ("device_replayed", false) => (
            "A device is no longer trusted",
            "A copy of a trusted device's cookie was used. The device is no longer trusted.",
        ),
        ("device_replayed", true) => (
            "Einem Gerät wird nicht mehr vertraut",
            "Eine Kopie des Cookies eines vertrauten Geräts wurde benutzt. Dem Gerät wird nicht mehr vertraut.",
        ),
        (_, false) => ("Something changed", "Something about two-step verification of your account changed."),
        (_, true) => (
            "Etwas hat sich geändert",
            "An der Bestätigung in zwei Schritten Ihres Kontos hat sich etwas geändert.",
        ),
    }
}
