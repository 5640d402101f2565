//! German: the sign-in pages and the pages without a form.

use super::super::{AskApp, Deliveries, EndText, Ended, EntryErrors, Lost, SignIn, Ways};

pub(super) const SIGN_IN: SignIn = SignIn {
    title_sms: "Prüfen Sie Ihre SMS",
    title_voice: "Gehen Sie ans Telefon",
    title_totp: "Öffnen Sie Ihre Authenticator-App",
    title_email: "Prüfen Sie Ihre E-Mails",
    title_app: "Bestätigen Sie in der App",
    title_recovery: "Wiederherstellungscode verwenden",
    lead_sms: |digits| format!("Wir haben einen Code an die Nummer gesendet, die auf {digits} endet."),
    lead_voice: |digits| {
        format!(
            "Wir rufen die Nummer an, die auf {digits} endet. Eine Stimme liest die sechs Ziffern dreimal vor."
        )
    },
    lead_totp: |product| format!("Geben Sie die sechs Ziffern ein, die sie für {product} anzeigt."),
    lead_email: |address| format!("Wir haben einen Code an {address} gesendet."),
    lead_recovery: "Geben Sie einen der Codes ein, die Sie aufbewahrt haben. Jeder Code gilt einmal.",
    number: |digits| format!("Nummer, die auf {digits} endet"),
    new_device: "Wir fragen, weil Sie einen neuen Browser oder ein neues Gerät benutzen.",
    label_digits: "Sechsstelliger Code",
    label_recovery: "Wiederherstellungscode",
    hint_recovery: "16 Buchstaben und Ziffern. Die Striche können Sie weglassen.",
    trust_days: |days| format!("Diesem Gerät {days} Tage lang vertrauen"),
    trust_until_sign_out: "Diesem Gerät vertrauen, bis ich mich abmelde",
    trust_hint: "Nicht ankreuzen, wenn andere das Gerät mitbenutzen.",
    verify: "Bestätigen",
    send_first: "Code senden",
    send_again: "Erneut senden",
    call_again: "Erneut anrufen",
    call_instead: "Stattdessen anrufen",
    text_instead: "Stattdessen eine SMS senden",
    ask_again_in: |wait| format!("Wieder möglich in {wait}."),
    sends_used_up: "Für diese Anmeldung können keine weiteren Codes gesendet werden.",
    other_way: "Anderen Weg wählen",
    check_again: "Erneut prüfen",
    cancel: "Anmeldung abbrechen",
};

pub(super) const DELIVERIES: Deliveries = Deliveries {
    sms_sending: "Die SMS wird gesendet …",
    sms_on_its_way: "Unterwegs zu Ihrem Telefon",
    sms_delivered: "Auf Ihrem Telefon angekommen",
    sms_failed: "Die SMS ist vielleicht nicht angekommen. Wählen Sie unten einen anderen Weg.",
    voice_sending: "Der Anruf wird gestartet …",
    voice_on_its_way: "Ihr Telefon sollte jetzt klingeln. Drücken Sie eine beliebige Taste, um den Code zu hören.",
    voice_delivered: "Erledigt: Wir haben angerufen und den Code vorgelesen",
    voice_failed: "Der Anruf kam nicht durch, oder es wurde keine Taste gedrückt. Wählen Sie unten einen anderen Weg.",
    email_sending: "Die E-Mail wird gesendet …",
    email_on_its_way: "Unterwegs. Sehen Sie auch im Spam-Ordner nach.",
    email_delivered: "Angekommen. Sehen Sie auch im Spam-Ordner nach.",
    email_failed: "Die E-Mail konnte nicht zugestellt werden.",
    landline: "Diese Nummer kann keine SMS empfangen. Wählen Sie unten einen anderen Weg.",
    opted_out: "Für diese Nummer sind unsere Nachrichten gesperrt. Wählen Sie unten einen anderen Weg.",
    refused: "An diese Nummer können wir keine Codes senden. Wählen Sie unten einen anderen Weg.",
    limited: "Auf diesem Weg können zurzeit keine Codes gesendet werden. Wählen Sie unten einen anderen.",
    limited_until: |wait| {
        format!(
            "Der nächste Code kann in {wait} gesendet werden. Wählen Sie bis dahin unten einen anderen Weg."
        )
    },
    not_sent: "Es wurde noch kein Code gesendet. Senden Sie einen, oder wählen Sie unten einen anderen Weg.",
    slow: "Das Senden dauert länger als sonst. Sie können warten oder unten einen anderen Weg wählen.",
    expired: "Der Code ist abgelaufen, bevor er gesendet werden konnte. Senden Sie einen neuen.",
};

pub(super) const ENTRY_ERRORS: EntryErrors = EntryErrors {
    wrong: "Das ist nicht der Code.",
    tries_left: |left| {
        if left == 1 { "Noch 1 Versuch.".to_owned() } else { format!("Noch {left} Versuche.") }
    },
    expired: "Dieser Code ist abgelaufen. Fordern Sie einen neuen an.",
    not_six_digits: "Geben Sie die sechs Ziffern ein.",
    not_recovery_code: "Geben Sie alle 16 Zeichen eines Wiederherstellungscodes ein.",
    paused: |wait| format!("Zu viele falsche Codes. Melden Sie sich in {wait} erneut an."),
    clock_behind: |minutes| {
        format!(
            "Die Uhr Ihres Telefons geht {minutes} min nach. Stellen Sie die Uhrzeit auf automatisch, und geben Sie dann den neuen Code ein."
        )
    },
    clock_ahead: |minutes| {
        format!(
            "Die Uhr Ihres Telefons geht {minutes} min vor. Stellen Sie die Uhrzeit auf automatisch, und geben Sie dann den neuen Code ein."
        )
    },
};

pub(super) const WAYS: Ways = Ways {
    title: "Anderen Weg wählen",
    lead: "Wählen Sie, wie Sie bestätigen, dass Sie es sind.",
    codes_work: "Früher gesendete Codes gelten weiter.",
    sms: "SMS",
    voice: "Anruf",
    totp: "Authenticator-App",
    email: "E-Mail",
    app: "Die App",
    recovery: "Wiederherstellungscode",
    to_number: |digits| format!("An die Nummer, die auf {digits} endet"),
    possible_in: |wait| format!("Möglich in {wait}"),
    telephone_note: "SMS und Anrufe gehen durch das Telefonnetz. Dort können andere sie abfangen. Eine Authenticator-App ist sicherer.",
    back_to_code: "Zurück zum Code",
    limited: |wait| {
        format!(
            "Zurzeit kann kein Code gesendet werden. Versuchen Sie es in {wait} erneut, oder wählen Sie eine Methode, für die wir keinen Code senden."
        )
    },
    used_up: "Für diese Anmeldung können keine weiteren Codes gesendet werden. Wählen Sie einen Weg ohne gesendeten Code.",
    not_possible: "Auf diesem Weg kann kein Code gesendet werden. Wählen Sie einen anderen.",
};

pub(super) const LOST: Lost = Lost {
    title: "Ihr Code war richtig",
    question: "Haben Sie dieses Telefon verloren?",
    question_of_many: "Haben Sie eines Ihrer Telefone verloren?",
    phone: |digits| format!("Telefon mit der Nummer, die auf {digits} endet"),
    explain: "Entfernen Sie ein verlorenes oder gestohlenes Telefon. Es bekommt dann keine Codes mehr.",
    remove: "Telefon entfernen",
    keep: "Telefon behalten",
    keep_all: "Alle behalten",
    go_on: "Ich habe ihn aufbewahrt, weiter",
    new_code_title: "Ihr neuer Wiederherstellungscode",
    new_code_lead: "Er ersetzt den verwendeten. Bewahren Sie ihn jetzt auf: Wir zeigen ihn nur einmal.",
};

const SIGN_IN_AGAIN: &str = "Gehen Sie zurück zum Shop oder Dienst, und melden Sie sich erneut an.";

pub(super) const ENDED: Ended = Ended {
    expired: EndText {
        title: "Diese Anmeldung ist abgelaufen",
        happened: "Sie war zu lange offen. Zum Schutz Ihres Kontos haben wir sie geschlossen.",
        next: SIGN_IN_AGAIN,
    },
    locked: EndText {
        title: "Zu viele falsche Codes",
        happened: "Zum Schutz Ihres Kontos haben wir diese Anmeldung gesperrt.",
        next: SIGN_IN_AGAIN,
    },
    paused: EndText {
        title: "Zu viele falsche Codes",
        happened: "Zum Schutz Ihres Kontos ist die Anmeldung pausiert.",
        next: SIGN_IN_AGAIN,
    },
    cancelled: EndText {
        title: "Diese Anmeldung wurde abgebrochen",
        happened: "Es wurde nichts bestätigt.",
        next: "Sie können sich jederzeit erneut anmelden.",
    },
    denied: EndText {
        title: "Anmeldung gestoppt",
        happened: "Jemand hat „Das war ich nicht“ gewählt. Diese Anmeldung wurde beendet.",
        next: "War das ein Versehen, melden Sie sich erneut an. Waren Sie es nicht, ändern Sie Ihr Passwort.",
    },
    used: EndText {
        title: "Schon bestätigt",
        happened: "Dieser Schritt ist erledigt, hier oder in einem anderen Fenster.",
        next: "Sie können diese Seite schließen.",
    },
    other_browser: EndText {
        title: "In einem anderen Browser geöffnet",
        happened: "Diese Anmeldung wurde in einem anderen Browser oder in einem privaten Fenster geöffnet.",
        next: "Machen Sie dort weiter, oder melden Sie sich in diesem Browser erneut an.",
    },
    no_cookies: EndText {
        title: "Wir finden diese Seite in Ihrem Browser nicht",
        happened: "Vielleicht ist sie abgelaufen. Beginnen Sie dann beim Shop oder Dienst von vorn. Sehen Sie diese Seite wieder, blockiert Ihr Browser unser Cookie. Es bindet eine Anmeldung an Ihren Browser und enthält keine persönlichen Daten.",
        next: "Melden Sie sich danach erneut an.",
    },
    cookie_steps: [
        "Öffnen Sie die Datenschutz-Einstellungen Ihres Browsers.",
        "Erlauben Sie Cookies für diese Website.",
        "Haben Sie die Seite in einer anderen App geöffnet, öffnen Sie sie im Browser.",
    ],
    not_found: EndText {
        title: "Seite nicht gefunden",
        happened: "Unter dieser Adresse gibt es nichts. Vielleicht ist der Link unvollständig.",
        next: "Gehen Sie zurück zum Shop oder Dienst, und beginnen Sie neu.",
    },
    session_expired: EndText {
        title: "Ihre Einstellungen wurden geschlossen",
        happened: "Sie waren zu lange offen, oder eine Änderung wurde gestoppt. Zum Schutz Ihres Kontos haben wir sie geschlossen.",
        next: "Öffnen Sie sie erneut auf Ihrer Kontoseite.",
    },
    unavailable: EndText {
        title: "Zurzeit nicht verfügbar",
        happened: "Wir können gerade nicht antworten.",
        next: "Bitte versuchen Sie es gleich noch einmal.",
    },
    too_big: EndText {
        title: "Das war zu viel",
        happened: "Ihr Browser hat mehr Daten gesendet, als wir annehmen.",
        next: "Gehen Sie zurück, und versuchen Sie es mit einer kürzeren Eingabe.",
    },
    forbidden: EndText {
        title: "Das konnten wir nicht annehmen",
        happened: "Das Formular kam nicht von dieser Seite, oder die Seite war zu alt. Nichts wurde geändert.",
        next: "Gehen Sie zurück, laden Sie die Seite neu, und versuchen Sie es erneut.",
    },
    rate_limited: EndText {
        title: "Zu viele Versuche",
        happened: "Es gab zu viele Versuche. Nichts wurde geändert.",
        next: "Bitte versuchen Sie es später noch einmal.",
    },
    bad_request: EndText {
        title: "Das konnten wir nicht lesen",
        happened: "Das Formular war unvollständig. Nichts wurde geändert.",
        next: "Gehen Sie zurück, und versuchen Sie es erneut.",
    },
    sign_in_again_in: |wait| format!("Melden Sie sich in {wait} erneut an."),
    try_again_in: |wait| format!("Bitte versuchen Sie es in {wait} noch einmal."),
};

pub(super) const ASK_APP: AskApp = AskApp {
    lead: |app, device| match device {
        "" => format!("Öffnen Sie die App „{app}“ auf Ihrem Telefon, und geben Sie dort diese Zahl ein:"),
        device => format!("Öffnen Sie die App „{app}“ auf {device}, und geben Sie dort diese Zahl ein:"),
    },
    not_asked: |app| format!("Bestätigen Sie mit der App „{app}“."),
    number: "Zahl",
    waiting: "Wir warten auf die App …",
    replaced: "Eine neuere Anmeldung hat diese Anfrage ersetzt. Senden Sie sie erneut, oder wählen Sie einen anderen Weg.",
    none: "In der App ist keine Anfrage offen. Senden Sie jetzt eine, oder wählen Sie einen anderen Weg.",
    limited: |wait| {
        format!(
            "Die App erhält in den nächsten {wait} keine Anfragen. Wählen Sie bis dahin einen anderen Weg."
        )
    },
    late: "Nichts auf Ihrem Telefon? Öffnen Sie die App selbst, oder wählen Sie einen anderen Weg.",
    ask_again: "Anfrage erneut senden",
    code_summary: "Stattdessen einen Code eingeben",
    code_lead: "Die App zeigt unter „Code anzeigen“ einen Code. Geben Sie ihn hier ein.",
};
