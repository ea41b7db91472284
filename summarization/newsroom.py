"""The embedded newsroom: English news articles with highlights, made up from a seed.

An article has a lead, one or two further salient sentences, and details, quotes, background and
filler around them; its highlights compress the salient sentences. People, places, organisations and
figures are drawn anew for each article, so a model that writes them must have copied them. The
splits share no surname, hence no person and no article.
"""

import random
import re
import zlib

from summarization.newsroom_patterns import FILLER, KINDS

SALIENT = ("lead", "key", "next")  # tables of (sentence, highlight)
DETAIL = ("fact", "quote", "past")  # tables of sentences
N_PATTERNS = len(FILLER) + sum(
    len(kind[part]) for kind in KINDS.values() for part in SALIENT + DETAIL
)

WORDS = (60, 87)  # words of an article, fewest and most: 80 to 160 tokens of the demo tokenizer
SPLIT_OF_HASH = {
    0: "test",
    1: "validation",
}  # by the last decimal digit of a surname's hash; the other eight are "train"
SPLITS = ("train", "validation", "test")

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FIGURES = range(
    21, 99
)  # of two digits: one token each for the demo model, so that it can copy them
HOURS = ("dawn", "noon", "sunset", "midnight", "breakfast", "lunch", "dinner", "sunrise")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

# Names are made of one part of each row.
FIRST = (
    "Al Ber Cal Dor El Fen Gar Hal Il Jor Kel Lor Mar Nel Or Per Quin Ros Sel Tam Ul Ver Wil Yor "
    "Zan",
    "ana en ia ic is o ra us eth in ola ard ette am",
)
LAST = (
    "Ab Ack Ald Ban Bel Bor Bran Cas Chor Crom Dal Den Drax Dun Em Fal Farn Fitch Gal Gor Grim "
    "Had Hol Hux Ing Jas Kar Kes Lan Lim Lund Mal Mer Mor Nar Nor Oak Pel Pren Rad Ren Rud San "
    "Skel Stan Strom Tal Thorn Tor Tul Und Val Van Wad Wex Win Yar Zel Zim",
    "beck berg by cott croft dahl den dine field gard ham hurst kin kov land ler ley lin lock "
    "lund man mark mere nack ney nor quist ridge rik rod sen sham shaw sky son stad stein stone "
    "strand thal thorpe ton vale vik ward wick wood worth zen",
)
PLACE = (
    "Ash Aven Bar Black Brim Cair Clay Col Dart Dray East Fern Glen Great Har Hay Iron Kings Lake "
    "Lang Lea Maple Mill Nether New Oss Pine Quar Raven Red Rock Salt Shel Silver Stone Sun Swan "
    "Tan Under Wes White Wolf",
    "bridge brook burgh bury chester combe dale fell ford gate grove haven hill minster mouth "
    "ness pool port stead water",
)
ORG = (
    "Aer Bri Cel Cor Dyn Ever Fla Glo Hel Inter Jun Kor Lum Met Nov Omni Pri Rel Sol Tri Uni Vec "
    "Xen Zeph",
    "ada ant ess ex iska iva ium onic ora ova tron ux",
)
FIRST = [part.split() for part in FIRST]
LAST = [part.split() for part in LAST]
PLACE = [part.split() for part in PLACE]
ORG = [part.split() for part in ORG]


def split_of(surname: str) -> str:
    """The only split in which people of this surname appear."""
    return SPLIT_OF_HASH.get(zlib.crc32(surname.encode()) % 10, "train")


SURNAMES = {
    split: [
        (onset, onset + end)
        for onset in LAST[0]
        for end in LAST[1]
        if split_of(onset + end) == split
    ]
    for split in SPLITS
}


def articles(split: str, n: int, *, seed: int = 0) -> list[dict]:
    """The first n articles of a split, each with `id`, `article` and `highlights` (one sentence a
    line).
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: the newsroom has {', '.join(SPLITS)}")
    return [_article(split, seed, index=index) for index in range(n)]


def people(article: str) -> list[str]:
    """The full names in an article, in order."""
    first = "".join(f"(?:{'|'.join(part)})" for part in FIRST)
    last = "".join(f"(?:{'|'.join(part)})" for part in LAST)
    return re.findall(rf"\b{first} {last}\b", article)


def retellings(split: str, n: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """n stories, each told in two articles: the same people, places and figures in sentences chosen
    anew.
    """
    pairs = []
    for index in range(n):
        rng = random.Random(f"retellings {split} {seed} {index}")
        kind = rng.choice(list(KINDS.values()))
        first, _, slots = _tell(rng, split, kind=kind)
        pairs.append((first, _tell(rng, split, kind=kind, slots=slots)[0]))
    return pairs


def _article(split: str, seed: int, *, index: int) -> dict:
    rng = random.Random(f"newsroom {split} {seed} {index}")
    article, highlights, _ = _tell(rng, split, kind=rng.choice(list(KINDS.values())))
    return {"id": f"demo-{split}-{seed}-{index:06d}", "article": article, "highlights": highlights}


def _tell(
    rng: random.Random, split: str, *, kind: dict, slots: dict | None = None
) -> tuple[str, str, dict]:
    """Article, highlights and slots of the first draft that has the right length and mentions both
    people again.
    """
    while True:
        article, highlights, filled = _draft(rng, split, kind=kind, slots=slots)
        mentions = [article.count(filled[person]) for person in ("chief", "other")]
        if WORDS[0] <= len(article.split()) <= WORDS[1] and min(mentions) >= 2:
            return article, highlights, filled


def _draft(
    rng: random.Random, split: str, *, kind: dict, slots: dict | None
) -> tuple[str, str, dict]:
    salient = [rng.choice(kind[part]) for part in SALIENT[: rng.choice((2, 3))]]
    body = [sentence for sentence, _ in salient[1:]]
    body += [rng.choice(part) for part in (kind["fact"], kind["quote"], kind["past"], FILLER)]
    rng.shuffle(body)
    slots = slots or _slots(rng, split, kind=kind)
    article = " ".join([salient[0][0], *body]).format(**slots)
    for person in ("chief", "other"):  # full at the first mention, surname afterwards
        article = article.replace(
            f" {slots[person]}", f" {slots[person + '_first']} {slots[person]}", 1
        )
    return article, "\n".join(highlight for _, highlight in salient).format(**slots), slots


def _slots(rng: random.Random, split: str, *, kind: dict) -> dict[str, object]:
    """What fills each slot of an article's patterns."""
    chief, other = _surnames(rng, split)
    of_town, of_region = rng.sample(PLACE[0], 2)
    town = _join(rng, ([of_town], PLACE[1]))
    region = _join(rng, ([of_region], PLACE[1]))
    n, m, money, bonus, share, thousands = figures = rng.sample(FIGURES, 6)
    return {
        "chief": chief,
        "other": other,
        "town": town,
        "region": region,
        "org": _join(rng, ORG),
        "what": rng.choice(kind["what"]),
        "why": rng.choice(kind["why"]),
        "day": rng.choice(DAYS),
        "date": f"{rng.choice(MONTHS)} {rng.randint(1, 28)}",
        "hour": rng.choice(HOURS),
        "n": n,
        "m": m,
        "few": rng.choice(("two", "three", "four", "five", "six")),
        "big": f"{thousands},000",
        "money": f"{money} million dollars",
        "money2": f"{bonus},000 dollars",
        "pct": f"{share} percent",
        "k": rng.randint(3, 20),
        "age": rng.choice([age for age in range(31, 59) if age not in figures]),
        "chief_first": _join(rng, FIRST),
        "other_first": _join(rng, FIRST),
    }


def _surnames(rng: random.Random, split: str) -> list[str]:
    """Two surnames of the split that begin differently."""
    onset, name = rng.choice(SURNAMES[split])
    while True:
        other_onset, other = rng.choice(SURNAMES[split])
        if other_onset != onset:
            return [name, other]


def _join(rng: random.Random, parts) -> str:
    return "".join(rng.choice(part) for part in parts)
