//! The sentence that asks the recipient of a call to press a key, in the languages of all voices.

/// Returns the sentence for a voice. Contains the brand and no code.
pub(super) fn sentence(voice: &str, brand: &str) -> String {
    pattern(voice).replace("{}", brand)
}

#[rustfmt::skip]
fn pattern(voice: &str) -> &'static str {
    match (voice, voice.split('-').next().unwrap_or(voice)) {
        ("zh-TW" | "zh-HK", _) => "這裡是{}。請按任意鍵收聽驗證碼。",
        ("pt-BR", _) => "Esta é uma chamada de {}. Pressione qualquer tecla para ouvir o seu código.",
        (_, "bg") => "Обажда се {}. Натиснете произволен клавиш, за да чуете кода си.",
        (_, "ca") => "Us truca {}. Premeu qualsevol tecla per escoltar el codi.",
        (_, "cs") => "Volá {}. Stiskněte libovolnou klávesu a uslyšíte svůj kód.",
        (_, "da") => "Dette er {}. Tryk på en vilkårlig tast for at høre din kode.",
        (_, "de") => "Hier ist {}. Drücken Sie eine beliebige Taste, um Ihren Code zu hören.",
        (_, "el") => "Εδώ {}. Πατήστε ένα πλήκτρο για να ακούσετε τον κωδικό σας.",
        (_, "es") => "Esta es una llamada de {}. Pulse cualquier tecla para escuchar su código.",
        (_, "et") => "Helistab {}. Koodi kuulmiseks vajutage mõnda klahvi.",
        (_, "fi") => "Täällä {}. Paina mitä tahansa näppäintä kuullaksesi koodisi.",
        (_, "fr") => "Ici {}. Appuyez sur une touche pour entendre votre code.",
        (_, "he") => "זו שיחה מאת {}. הקישו על מקש כלשהו כדי לשמוע את הקוד.",
        (_, "hi") => "यह {} की कॉल है। अपना कोड सुनने के लिए कोई भी बटन दबाएँ।",
        (_, "hu") => "Itt a {}. A kód meghallgatásához nyomjon meg egy tetszőleges gombot.",
        (_, "id") => "Ini {}. Tekan tombol apa saja untuk mendengar kode Anda.",
        (_, "is") => "Þetta er {}. Ýttu á hvaða takka sem er til að heyra kóðann þinn.",
        (_, "it") => "Chiamata da {}. Prema un tasto qualsiasi per ascoltare il codice.",
        (_, "ja") => "{}です。コードを聞くには、いずれかのキーを押してください。",
        (_, "ko") => "{}입니다. 코드를 들으시려면 아무 버튼이나 눌러 주세요.",
        (_, "lt") => "Skambina {}. Paspauskite bet kurį klavišą, kad išgirstumėte savo kodą.",
        (_, "lv") => "Zvana {}. Nospiediet jebkuru taustiņu, lai dzirdētu savu kodu.",
        (_, "nb") => "Dette er {}. Trykk på en tast for å høre koden din.",
        (_, "nl") => "Dit is {}. Druk op een toets om uw code te horen.",
        (_, "pl") => "Tu {}. Naciśnij dowolny klawisz, aby usłyszeć kod.",
        (_, "pt") => "Esta é uma chamada de {}. Prima qualquer tecla para ouvir o seu código.",
        (_, "ro") => "Vă sună {}. Apăsați orice tastă pentru a auzi codul.",
        (_, "ru") => "Вам звонит {}. Нажмите любую клавишу, чтобы услышать код.",
        (_, "sk") => "Volá {}. Stlačte ľubovoľný kláves a budete počuť svoj kód.",
        (_, "sl") => "Kliče {}. Pritisnite katero koli tipko, da slišite kodo.",
        (_, "sv") => "Det här är {}. Tryck på valfri knapp för att höra din kod.",
        (_, "tr") => "{} arıyor. Kodunuzu duymak için herhangi bir tuşa basın.",
        (_, "uk") => "Вам телефонує {}. Натисніть будь-яку клавішу, щоб почути код.",
        (_, "vi") => "Đây là cuộc gọi từ {}. Nhấn phím bất kỳ để nghe mã của bạn.",
        (_, "zh") => "这里是{}。请按任意键收听验证码。",
        _ => "This is {}. Press any key to hear your code.",
    }
}

#[cfg(test)]
mod tests {
    use super::super::locale::VOICES;
    use super::sentence;

    /// A voice without a sentence would read English with another language's sounds.
    #[test]
    fn every_voice_asks_for_a_key_in_its_own_language() {
        for voice in VOICES {
            let said = sentence(voice, "Acme");
            assert!(said.contains("Acme"), "{voice}: {said}");
            assert_eq!(said.starts_with("This is"), voice.starts_with("en-"), "{voice}: {said}");
        }
    }
}
