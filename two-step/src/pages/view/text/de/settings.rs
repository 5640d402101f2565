//! German: the settings and the stop page.

use super::super::{
    Changes, Devices, Email, History, MethodPage, Notices, Off, Proof, Remove, Settings, Stop,
};

pub(super) const SETTINGS: Settings = Settings {
    title: "Bestätigung in zwei Schritten",
    lead: |product| format!("Nach der Eingabe Ihres Passworts verlangt {product} eine dieser Methoden."),
    on: "Eingeschaltet",
    off: "Ausgeschaltet",
    off_due: |when| {
        format!(
            "Der Support schaltet die Bestätigung in zwei Schritten wie gewünscht am {when} aus. Haben Sie das nicht verlangt, melden Sie sich mit einem Code an. Damit brechen Sie den Vorgang ab."
        )
    },
    only_recovery: "Sie können sich nur noch mit Wiederherstellungscodes anmelden. Fügen Sie ein Telefon oder eine Authenticator-App hinzu.",
    methods: "Methoden",
    preferred: "Bevorzugt",
    notices_only: "Nur für Sicherheitshinweise",
    paused: "Pausiert",
    added: |date| format!("Hinzugefügt am {date}"),
    last_used: |date| format!("zuletzt genutzt am {date}"),
    never_used: "noch nie genutzt",
    add_app: |app| format!("App {app} hinzufügen"),
    add_authenticator: "Authenticator-App hinzufügen",
    add_phone: "Telefon hinzufügen",
    add_email: "E-Mail-Adresse hinzufügen",
    backup: "Ersatzmethode",
    account: "Sicherheit",
    history: "Verlauf",
    history_detail: "Was geschehen ist, und wann",
    turn_off: "Bestätigung in zwei Schritten ausschalten",
    back: "Zurück zu den Einstellungen",
};

pub(super) const NOTICES: Notices = Notices {
    added: "Bestätigt.",
    app_added: "Bestätigt. Von nun an fragen wir zuerst die App. Um das zu ändern, öffnen Sie eine andere Methode.",
    authenticator_added: "Bestätigt. Von nun an fragen wir zuerst nach Ihrer Authenticator-App. Um das zu ändern, öffnen Sie eine andere Methode.",
    removed: "Entfernt.",
    saved: "Gespeichert.",
    test_sent: "Ein Testcode ist unterwegs. Sie müssen ihn nirgends eingeben.",
    device_revoked: "Dieses Gerät gilt nicht mehr als vertrauenswürdig.",
    all_devices_revoked: "Kein Gerät gilt mehr als vertrauenswürdig.",
    turned_off: "Die Bestätigung in zwei Schritten ist ausgeschaltet.",
    last_method: "Sie brauchen eine Methode und eine Ersatzmethode. Fügen Sie erst eine weitere hinzu, und entfernen Sie dann diese.",
    test_limited: "Zurzeit kann kein Testcode gesendet werden. Bitte versuchen Sie es später.",
    too_many_apps: "Sie haben die App schon auf drei Telefonen, mehr sind nicht möglich. Entfernen Sie zuerst eine.",
    too_many_authenticators: "Mehr Authenticator-Apps sind nicht möglich. Entfernen Sie zuerst eine.",
};

pub(super) const METHOD: MethodPage = MethodPage {
    paused: "Diese Methode ist pausiert und kann zurzeit nicht verwendet werden.",
    name: "Name",
    name_hint: "Zum Beispiel „Mein Diensthandy“",
    name_error: |max| format!("Geben Sie einen Namen mit höchstens {max} Zeichen ein."),
    save: "Speichern",
    prefer: "Als Erstes verwenden",
    is_preferred: "Diese Methode verwenden wir zuerst.",
    not_preferred: "Zuerst verwenden wir eine andere Methode.",
    channel: "Wie der Code kommt",
    channel_sms: "Per SMS",
    channel_voice: "Per Anruf",
    use_calls: "Anrufe nutzen",
    use_texts: "SMS nutzen",
    no_texts: "Diese Nummer kann keine SMS empfangen. Codes kommen per Anruf.",
    fallback: "Anrufen, wenn eine SMS nicht ankommt",
    fallback_on: "Ein",
    fallback_off: "Aus",
    switch_on: "Einschalten",
    switch_off: "Ausschalten",
    test: "Test",
    test_detail: "Prüfen Sie, ob Codes bei Ihnen ankommen.",
    test_send: "Testcode senden",
    prove: "Wieder nutzen",
    prove_detail: "Wir senden einen Code dorthin. Geben Sie ihn ein.",
    prove_send: "Code senden",
    remove: "Entfernen",
    may_not_remove: "Sie brauchen eine Methode und eine Ersatzmethode. Fügen Sie eine weitere hinzu, bevor Sie diese entfernen.",
};

pub(super) const REMOVE: Remove = Remove {
    title: "Diese Methode entfernen?",
    lead: "Sie können sich damit nicht mehr anmelden. Sie können sie später wieder hinzufügen.",
    told: "Wir senden einen letzten Hinweis dorthin und einen an Ihre anderen Methoden.",
    submit: "Entfernen",
    keep: "Behalten",
};

pub(super) const DEVICES: Devices = Devices {
    title: "Vertrauenswürdige Geräte",
    lead: "Auf diesen Geräten genügt Ihr Passwort. Kennen Sie eines nicht, entziehen Sie ihm das Vertrauen.",
    count: |n| match n {
        0 => "Keine".to_owned(),
        1 => "1 Gerät".to_owned(),
        n => format!("{n} Geräte"),
    },
    none: "Kein Gerät gilt als vertrauenswürdig. Bei jeder Anmeldung fragen wir nach einem Code.",
    unknown: "Unbekanntes Gerät",
    this: "Dieses Gerät",
    used: |date| format!("Zuletzt genutzt am {date}"),
    until: |date| format!("Vertrauenswürdig bis {date}"),
    until_sign_out: "Vertrauenswürdig bis zur Abmeldung",
    revoke: "Nicht mehr vertrauen",
    revoke_named: |device| format!("Nicht mehr vertrauen: {device}"),
    revoke_all: "Keinem Gerät mehr vertrauen",
};

pub(super) const HISTORY: History = History {
    title: "Verlauf",
    lead: "Kommt Ihnen etwas unbekannt vor, ändern Sie Ihr Passwort.",
    empty: "Noch ist nichts geschehen.",
    by_you: "Von Ihnen",
    by_product: |product| format!("Von {product}"),
    by_support: "Vom Support",
    by_service: "Automatisch",
    older: "Ältere Einträge",
    other_network: "die App war in einem anderen Netz als der Browser",
    look: "Bitte prüfen",
};

pub(super) const CHANGES: Changes = Changes {
    method_added: "Eine Methode wurde hinzugefügt",
    method_removed: "Eine Methode wurde entfernt",
    method_paused: "Eine Methode wurde pausiert",
    method_resumed: "Eine pausierte Methode wird wieder genutzt",
    method_key_changed: "Eine App hat ihren Schlüssel gewechselt",
    account_on: "Die Bestätigung in zwei Schritten wurde eingeschaltet",
    account_off: "Die Bestätigung in zwei Schritten wurde ausgeschaltet",
    account_paused: "Die Anmeldung wurde nach falschen Codes pausiert",
    account_alarm: "Eine Änderung wurde gestoppt, weil sie nicht von Ihnen kam",
    challenge_verified: "Ein zweiter Schritt wurde bestätigt",
    challenge_locked: "Eine Anmeldung wurde nach falschen Codes gesperrt",
    challenge_denied: "Eine Anmeldung wurde mit „Das war ich nicht“ gestoppt",
    device_trusted: "Ein Gerät gilt jetzt als vertrauenswürdig",
    device_revoked: "Ein Gerät gilt nicht mehr als vertrauenswürdig",
    device_replayed: "Ein altes Cookie eines Geräts wurde verwendet. Das Gerät gilt nicht mehr als vertrauenswürdig",
    recovery_used: "Ein Wiederherstellungscode wurde verwendet",
    recovery_renewed: "Neue Wiederherstellungscodes wurden erstellt",
    support_asked: "Der Support wurde um Hilfe bei der Bestätigung in zwei Schritten gebeten",
    support_approved: "Der Support hat eine Anfrage genehmigt",
    support_stopped: "Eine Anfrage an den Support wurde gestoppt",
    support_done: "Eine Anfrage an den Support wurde ausgeführt",
};

pub(super) const OFF: Off = Off {
    title: "Bestätigung in zwei Schritten ausschalten?",
    lead: |product| format!("Dann genügt Ihr Passwort, um Ihr Konto bei {product} zu öffnen."),
    erased: "Wir löschen die Schlüssel Ihrer Authenticator-Apps, Ihre Wiederherstellungscodes und die Liste der vertrauenswürdigen Geräte.",
    phones: "Was soll mit Ihren Telefonen geschehen?",
    keep: "Meine Telefonnummern behalten",
    keep_detail: "Das Einschalten geht später schneller.",
    erase: "Meine Telefonnummern löschen",
    erase_detail: "Wir behalten keine Kopie.",
    not_chosen: "Wählen Sie, was mit Ihren Telefonen geschehen soll.",
    address_stays: |address| format!("Sicherheitshinweise gehen weiterhin an {address}."),
    submit: "Ausschalten",
    stay_on: "Eingeschaltet lassen",
    again_title: "Wieder einschalten",
    again_lead: |product| format!("Zurzeit genügt Ihr Passwort, um Ihr Konto bei {product} zu öffnen."),
    kept: "Diese Telefonnummern sind gespeichert. Geben Sie einen Code von einem Telefon ein, und richten Sie dann eine Ersatzmethode ein.",
    others: "Oder beginnen Sie mit etwas anderem",
};

pub(super) const EMAIL: Email = Email {
    title: "E-Mail-Adresse hinzufügen",
    lead_second_step: "Wir senden einen Code, um zu prüfen, ob die Adresse Ihnen gehört. Auch spätere Codes gehen dorthin.",
    lead_notices: "Wir senden einen Code, um zu prüfen, ob die Adresse Ihnen gehört. Sicherheitshinweise gehen dorthin.",
    label: "E-Mail-Adresse",
    send: "Code senden",
    change: "Adresse ändern",
    missing: "Geben Sie Ihre E-Mail-Adresse ein.",
    invalid: "Das ist keine E-Mail-Adresse. Beispiel: name@example.com.",
    known: "Diese Adresse haben Sie schon hinzugefügt.",
    limited: |wait| format!("Es wurden zu viele E-Mails gesendet. Versuchen Sie es in {wait} erneut."),
};

pub(super) const PROOF: Proof = Proof {
    title: "Bestätigen Sie, dass Sie es sind",
    lead: "Bevor Sie diese Einstellungen sehen oder ändern, fragen wir nach Ihrem zweiten Schritt.",
    lead_expired: "Ihre letzte Bestätigung liegt zu lange zurück. Bitte bestätigen Sie noch einmal, dass Sie es sind.",
    submit: "Weiter",
};

pub(super) const STOP: Stop = Stop {
    title: "Waren Sie das?",
    account: |product| format!("In Ihrem Konto bei {product}:"),
    was_you: "Waren Sie es, schließen Sie diese Seite. Es ändert sich nichts.",
    was_not_you: "Waren Sie es nicht, stoppen Sie es jetzt. Dann gilt:",
    effects: [
        "Was hinzugefügt wurde, kann nicht mehr verwendet werden.",
        "Offene Anmeldungen, Einstellungen und Support-Anfragen enden.",
        "Kein Gerät gilt mehr als vertrauenswürdig.",
    ],
    submit: "Das war ich nicht: stoppen",
    stopped: (
        "Gestoppt",
        "Alle offenen Vorgänge sind beendet, und der Dienst wurde informiert. Eine hinzugefügte Methode ist pausiert.",
    ),
    stopped_before: ("Schon gestoppt", "Diese Änderung wurde schon gestoppt. Hier ist nichts mehr zu tun."),
    too_late: (
        "Dieser Link gilt nicht",
        "Er ist älter als sieben Tage oder unvollständig. Es wurde nichts geändert.",
    ),
    next: "Was Sie jetzt tun sollten",
    step_any_password: "Ändern Sie Ihr Passwort beim Shop oder Dienst.",
    step_password: |product| format!("Ändern Sie Ihr Passwort bei {product}."),
    step_methods: "Prüfen Sie Ihre Methoden, und entfernen Sie, was Sie nicht kennen.",
    step_support: "Wenn Sie sich nicht anmelden können, wenden Sie sich an den Support.",
};
