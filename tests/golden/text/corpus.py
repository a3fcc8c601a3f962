"""Lines of mixed text for the tokenizer's tests: prose, code, many scripts, emoji, white space, control characters."""

import pathlib
import random
import unicodedata

# Sentences of our own, one or more a script; lines are made by shuffling their words.
SENTENCES = [
    "今天早上图书馆开门很晚，我们在门口等了半个小时。 他说：「明天会下雪吗？」",
    "昨日、駅前の小さな店でコーヒーを三杯飲みました。カタカナもひらがなも漢字も読めます！",
    "오늘은 날씨가 좋아서 강가를 따라 오래 걸었습니다. 내일은 비가 온다고 하네요.",
    "كتبت الرسالة الأولى في الصباح، ثم ذهبتُ إلى السوق لأشتري خبزًا وتمرًا ٣٤٥.",
    "הילדים שיחקו בחצר עד הערב, ואז חזרו הביתה לאכול. שָׁלוֹם",
    "วันนี้ฝนตกหนักมากเราเลยอยู่บ้านอ่านหนังสือ ๑๒๓",
    "आज सुबह मैंने पुस्तकालय में एक नई किताब पढ़ी। क्या तुम कल आओगे? १२३४",
    "আমরা নদীর ধারে হাঁটছিলাম আর গান গাইছিলাম।",
    "நாங்கள் நேற்று மலை மீது ஏறினோம், அங்கே மிகவும் குளிராக இருந்தது.",
    "Вчера вечером поезд опоздал на 15 минут, и мы пили чай с лимоном.",
    "Το πρωί αγόρασα δύο εισιτήρια για το θέατρο· άρχισε στις 20:30.",
    "Ծովի ափին երեխաները ավազե ամրոց էին կառուցում։",
    "დღეს ბაზარში ვაშლი და ყურძენი ვიყიდე.",
    "Die Größe der Straßenbahn überraschte uns; „schön“, sagte Jürgen – 3,50 € teuer.",
    "L'été dernier, j'ai mangé des crêpes à l'œuf près de la forêt… c'était délicieux !",
    "¿Cuándo volverás, niño? ¡El pingüino comió ñoquis!",
    "Žluťoučký kůň úpěl ďábelské ódy; łódź, żółć, gęś.",
    "Trời hôm nay đẹp quá, chúng tôi đi dạo quanh hồ.",
    "İstanbul'da ışıklar söndü, çığlık gibi bir sessizlik.",
    "It's what we'd said: they're late, I'll wait, he'S not, YOU'VE won, don't 'tis 'round o'clock rock'n'roll I'M we'D",
]

EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇵🇹", "🇯🇵🇫🇷", "❤️", "❤", "☎︎", "1️⃣", "#️⃣", "🧑🏿‍🚀", "👨‍💻", "🫠", "🤷🏻‍♀️", "✨", "⚽️", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\xa0", "\u1680", "\u2000", "\u2003", "\u2009",
          "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff", "\u180e"]
CONTROLS = [chr(c) for c in range(32)] + ["\x7f", "\x80", "\x9f", "\xad", "\u200c", "\u200d", "\u200e", "\u202e", "\ufffd", "\ufffe",
                                          "\U000e0001", "\U0010ffff", "\ue000"]
MARKS = ["e\u0301", "é", "a\u0308\u0323", "a\u0323\u0308", "Å", "\u212b", "\u1100\u1161\u11a8", "각", "ﬁ", "ſ", "'ſ", "K", "Ω", "q\u0307\u0323",
         "\u0344", "\u0958", "\u2126", "ö\u0304", "\u0301", "x\u0338", "\U0001d15e", "豈"]
DIGITS = ["0", "7", "42", "365", "2024", "12345", "1234567890", "٣", "९", "½", "²", "Ⅳ", "①", "三", "〇", "𝟘", "𑁦", "3.14", "1,000,000",
          "0xFF", "1e-5", "v2.0.1", "٠١٢٣٤"]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["...", "--", "“", "”", "’", "«", "»", "—", "…", "§", "¶", "†", "‰", "∑", "≠",
                                                            "→", "═", "█", "€", "₿", "!!", "?!", "://", "</", "/>", "=>", "::", "&&"]
WORDS = ["the", "The", "THE", "a", "I", "don't", "we'll", "it's", "IT'S", "s", "'s", "'ll", "'LL", "'Re", "'t", "''", "token", "naïve", "x",
         "ijk", "snake_case", "camelCase", "ALLCAPS", "日本", "слово", "كلمة", "antidisestablishmentarianism"]
CONTROL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_end", "|im_end|>", "<|pad|>", "<sep>", "<mask>", "<|", "<<|im_end|>>"]
CODE = [
    "def f{n}(x, *, y={n}):\n    return x ** {n} + y  # {w}\n",
    "for (int i = 0; i < {n}; ++i) {{ sum += a[i] * b[i]; }}",
    "if __name__ == \"__main__\":\n\tmain(sys.argv[1:{n}])\n\n\n",
    "const {w} = async ({{ id }}) => await fetch(`/api/${{id}}?n={n}`);",
    "SELECT {w}, COUNT(*) FROM t{n} WHERE x >= {n}.5 GROUP BY {w} ORDER BY 2 DESC;",
    "<div class=\"{w}-{n}\" onclick='go(\"{w}\")'>&nbsp;{w}&amp;</div>",
    "template <typename T{n}> auto {w}(T{n}&& t) -> decltype(t->{w}()) {{ return t->{w}(); }}",
    "{{\"{w}\": [{n}, -{n}.25e{n}, null, true], \"\\u00e9\": \"\\n\"}}",
    "    \t  x_{n} = 0b1011 ^ 0o{n} | 0xDEADBEEF;   // {w}   ",
    "$ grep -rn '{w}' --include=*.{{cc,h}} | awk '{{print $1}}' | sort -u | head -n {n}",
    "\\frac{{\\partial {w}}}{{\\partial x_{{{n}}}}} \\leq \\sum_{{i=1}}^{{{n}}} \\alpha_i^2",
    "https://example.org/{w}/{n}?q=%20{w}&r={n}#frag-{n}",
]


def prose(folder, rng, count):
    """Pieces of 20 to 200 characters out of the .txt files under `folder`."""
    texts = [p.read_text(encoding="utf-8") for p in sorted(pathlib.Path(folder).rglob("*.txt"))[:150]]
    lines = []
    while len(lines) < count:
        text = rng.choice(texts)
        start = rng.randrange(max(1, len(text) - 200))
        lines.append(text[start:start + rng.choice([20, 60, 100, 200])])
    return lines


def any_character(rng):
    """A code point of any plane, weighted to the assigned ones that matter; never a surrogate."""
    while True:
        low, high = rng.choice([(0, 0x250), (0x250, 0x3000), (0x3000, 0xA000), (0xA000, 0x10000), (0x10000, 0x20000), (0x20000, 0x110000)])
        c = chr(rng.randrange(low, high))
        if unicodedata.category(c) not in ("Cs", "Cn"):
            return c


def lines(prose_folders, seed=20):
    rng = random.Random(seed)
    out = ["", " ", "  ", "\n", "It's 2024,  ok?\n\n  x", "I'LL pay $12345!!"]
    for folder in prose_folders:
        out += prose(folder, rng, 900)
    for _ in range(60):
        for sentence in SENTENCES:
            words = sentence.split(" ")
            rng.shuffle(words)
            out.append(" ".join(words[:rng.randrange(1, len(words) + 1)]))
    for i in range(800):
        out.append(rng.choice(CODE).format(n=rng.randrange(5000) if i % 2 else rng.randrange(30), w=rng.choice(WORDS).strip("'")))
    groups = [EMOJI, SPACES, CONTROLS, MARKS, DIGITS, PUNCTUATION, WORDS, CONTROL_TOKENS, [" "], ["\n"]]
    for i in range(1500):
        chosen = rng.sample(groups, rng.randrange(2, 5)) if i % 2 else groups
        out.append("".join(rng.choice(rng.choice(chosen)) for _ in range(rng.randrange(1, 16))))
    for _ in range(400):
        out.append("".join(any_character(rng) for _ in range(rng.randrange(1, 20))))
    out += [c * n for c in ("a", " ", "\n", "é", "字", "=", "0", "'s", " \n", "😀", "ab") for n in (3, 31, 33, 200)]
    return out
