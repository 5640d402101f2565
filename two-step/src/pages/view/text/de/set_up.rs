//! German: the set-up pages.

use super::super::{AddApp, Authenticator, Backup, Choose, Done, Phone, PhoneErrors, Recovery, TurnOn};

pub(super) const CHOOSE: Choose = Choose {
    title: "Wählen Sie Ihren zweiten Schritt",
    lead: "Nach dem Passwort fragen wir nach einem zweiten Schritt. Ein gestohlenes Passwort allein reicht dann nicht.",
    recommended: "Empfohlen",
    app: |app| format!("Die App „{app}“ fragt auf Ihrem Telefon nach. Sie geben dort eine Zahl ein."),
    authenticator: "Eine App auf Ihrem Telefon zeigt alle 30 Sekunden einen neuen Code. Sie braucht kein Netz, und es wird kein Code gesendet.",
    phone: "Wir senden einen Code per SMS oder Anruf. Das ist schnell eingerichtet. SMS und Anrufe können abgefangen werden.",
    email: "Wir senden einen Code an Ihr Postfach. Das ist nur so sicher wie das Postfach.",
    later: "Jetzt nicht",
};

pub(super) const BACKUP: Backup = Backup {
    title: "Fügen Sie eine Ersatzmethode hinzu",
    lead: "Ein Telefon kann verloren gehen. Mit einer Ersatzmethode können Sie sich trotzdem anmelden.",
    ready: "Bereit",
    recovery: "Wiederherstellungscodes",
    recovery_detail: "Zehn Codes zum Drucken oder Speichern. Jeder gilt einmal und funktioniert ohne Telefon.",
    phone: "Ein weiteres Telefon",
    phone_detail: "Eine zweite Nummer von Ihnen oder von einer Person, der Sie vertrauen.",
    authenticator: "Authenticator-App",
    authenticator_detail: "Eine App, am besten auf einem anderen Gerät.",
};

pub(super) const AUTHENTICATOR: Authenticator = Authenticator {
    title: "Authenticator-App einrichten",
    step_app: "Öffnen Sie Ihre Authenticator-App",
    step_scan: "Scannen Sie damit diesen QR-Code",
    step_code: "Geben Sie den Code ein, den sie anzeigt",
    apps: "Haben Sie keine, laden Sie eine aus Ihrem App-Store. Auch viele Passwort-Manager können das.",
    qr: |product| format!("QR-Code mit dem Schlüssel für {product}"),
    open_app: "App auf diesem Gerät öffnen",
    cannot_scan: "Ich kann ihn nicht scannen",
    key_lead: "Wählen Sie in der App „Einrichtungsschlüssel eingeben“, und geben Sie dies ein:",
    account: "Konto",
    key: "Schlüssel",
    kind: "Art",
    key_kind: "Zeitbasiert, sechs Ziffern",
    first_code: "Sechsstelliger Code",
    submit: "Bestätigen und weiter",
};

pub(super) const PHONE: Phone = Phone {
    title: "Telefon hinzufügen",
    lead: "Wir senden einen Code, um zu prüfen, ob die Nummer Ihnen gehört.",
    note: "Wir nutzen die Nummer nur für Codes und Sicherheitshinweise.",
    country: "Land",
    number: "Telefonnummer",
    number_hint: "Leerzeichen und Striche spielen keine Rolle.",
    send_sms: "SMS senden",
    call_me: "Mich anrufen",
    sent: ("Wir haben einen Code an ", " gesendet."),
    calling: ("Wir rufen ", " an. Eine Stimme liest die sechs Ziffern dreimal vor."),
    sends_used_up: "An diese Nummer können zurzeit keine weiteren Codes gesendet werden.",
    change: "Nummer ändern",
    submit: "Bestätigen und weiter",
};

pub(super) const PHONE_ERRORS: PhoneErrors = PhoneErrors {
    missing: "Geben Sie Ihre Telefonnummer ein.",
    invalid: "Das ist keine Telefonnummer des gewählten Landes. Prüfen Sie die Ziffern.",
    country: "Nummern dieses Landes werden nicht angenommen. Wählen Sie ein Land aus der Liste.",
    kind: "Premium- und Sondernummern werden nicht angenommen. Nehmen Sie eine gewöhnliche Nummer.",
    refused: "An diese Nummer können wir keine Codes senden. Nehmen Sie eine andere Nummer.",
    too_many_accounts: "Diese Nummer gehört schon zu vielen Konten. Nehmen Sie eine andere Nummer.",
    known: "Diese Nummer haben Sie schon hinzugefügt.",
    limited: |wait| format!("Es wurden zu viele Codes gesendet. Versuchen Sie es in {wait} erneut."),
};

pub(super) const RECOVERY: Recovery = Recovery {
    title: "Wiederherstellungscodes",
    lead: "Mit einem Wiederherstellungscode melden Sie sich an, wenn Sie kein Telefon zur Hand haben.",
    none: "Noch keine Codes",
    left: |left| {
        if left == 1 { "Noch 1 Code übrig".to_owned() } else { format!("Noch {left} Codes übrig") }
    },
    made: |date| format!("Erstellt am {date}"),
    make: "Codes erstellen",
    make_new: "Neue Codes erstellen",
    replaces: "Wenn Sie neue Codes erstellen, gelten die alten nicht mehr.",
    new_title: "Bewahren Sie Ihre Codes auf",
    new_lead: "Wir zeigen sie nur dieses eine Mal. Legen Sie sie dorthin, wo Sie sie ohne Telefon finden. Wenn Sie diese Seite neu laden, erstellen wir neue Codes. Die hier gezeigten gelten dann nicht mehr.",
    once: "Jeder Code gilt einmal.",
    title_for: |product| format!("Wiederherstellungscodes für {product}"),
    download: "Herunterladen",
    print_hint: "Sie können diese Seite auch drucken oder die Codes abschreiben.",
    file: "wiederherstellungscodes",
    saved: "Ich habe sie gespeichert",
    submit: "Weiter",
    low: "Es sind nur wenige Codes übrig. Erstellen Sie bald neue.",
};

pub(super) const TURN_ON: TurnOn = TurnOn {
    title: "Bestätigung in zwei Schritten einschalten",
    lead: "Alles ist bereit. Nach der Eingabe Ihres Passworts brauchen Sie ab jetzt eine dieser Methoden:",
    unconfirmed: "Bei diesem Besuch nicht bestätigt",
    unconfirmed_lead: "Diese wurden früher hinzugefügt. Beim Einschalten werden sie entfernt, denn wer Ihr Passwort kennt, kann sie hinzugefügt haben. Wenn Sie ein Telefon behalten möchten, lassen Sie einen Code dorthin senden.",
    submit: "Einschalten",
};

pub(super) const DONE: Done = Done {
    title: "Die Bestätigung in zwei Schritten ist eingeschaltet",
    lead: |product| format!("Ihr Konto bei {product} ist jetzt besser geschützt."),
    not_trusted: "Bei der nächsten Anmeldung fragen wir nach dem zweiten Schritt.",
    trusted: "Dieses Gerät gilt als vertrauenswürdig. Hier fragen wir nicht nach einem Code.",
    settings: "Einstellungen öffnen",
};

pub(super) const ADD_APP: AddApp = AddApp {
    title: |app| format!("Die App „{app}“ einrichten"),
    step_install: "Öffnen Sie die App auf Ihrem Telefon",
    install: "Scannen Sie dies mit der Kamera des Telefons, oder öffnen Sie die App über den Link unten. Legen Sie die Seite dann auf den Startbildschirm: Das Menü des Browsers nennt es „Installieren“ oder „Zum Home-Bildschirm“.",
    qr: |app| format!("QR-Code, der die App „{app}“ öffnet"),
    here: "Auf diesem Gerät öffnen",
    step_code: "Geben Sie diesen Code in die App ein",
    code: "Einrichtungscode",
    until: |wait| format!("Er gilt noch {wait}."),
    taken: "Der Code wurde in einer App eingegeben.",
    step_digits: "Geben Sie die sechs Ziffern ein, die die App zeigt",
    digits: "Sechs Ziffern",
    submit: "Prüfen und weiter",
    new_code: "Neuen Einrichtungscode erstellen",
    needs_script: "Die App braucht JavaScript.",
};
