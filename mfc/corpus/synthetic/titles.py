"""Names that sound right: romanised titles, people, and scraps of dialogue, all invented."""

from __future__ import annotations

import numpy as np

FIRST = [
    "Akai",
    "Aoi",
    "Kuroi",
    "Shiro",
    "Hoshi",
    "Tsuki",
    "Kaze",
    "Yuki",
    "Ame",
    "Umi",
    "Mori",
    "Kumo",
    "Hana",
    "Sora",
    "Kage",
    "Hikari",
    "Yume",
    "Toki",
    "Neko",
    "Tori",
    "Inu",
    "Kitsune",
    "Tanuki",
    "Hotaru",
    "Sakura",
    "Momiji",
    "Natsu",
    "Fuyu",
    "Haru",
    "Aki",
    "Minato",
    "Machi",
    "Yoru",
    "Asa",
    "Hoshizora",
    "Kawa",
    "Yama",
    "Taiyo",
    "Nagare",
    "Kisetsu",
    "Garasu",
    "Tetsu",
    "Hagane",
    "Kami",
    "Maboroshi",
    "Himitsu",
    "Fushigi",
    "Mahou",
    "Gakuen",
    "Houkago",
    "Shounen",
    "Otome",
    "Senshi",
    "Tantei",
    "Ronin",
    "Ninja",
]
LAST = [
    "Monogatari",
    "Kissa",
    "Tantei",
    "Senki",
    "Densetsu",
    "Nikki",
    "Yakusoku",
    "Tabi",
    "Fune",
    "Machi",
    "Hashi",
    "Uta",
    "Kagi",
    "Mado",
    "Tobira",
    "Niwa",
    "Oukoku",
    "Shoukudou",
    "Bugyou",
    "Gakuen",
    "Kikou",
    "Ressha",
    "Toushi",
    "Keikaku",
    "Bouken",
    "Sensou",
    "Kishi",
    "Musume",
    "Ouji",
    "Hime",
    "Banchou",
    "Sensei",
    "Kurabu",
]
ENGLISH = [
    "Lucky",
    "Silver",
    "Paper",
    "Moon",
    "Engine",
    "Rocket",
    "Cherry",
    "Boy",
    "Girl",
    "Knight",
    "Doctor",
    "Street",
    "Echo",
    "Blue",
    "Candy",
    "Turbo",
    "Love",
    "Zero",
]
FAMILY = [
    "青木",
    "赤井",
    "秋山",
    "石川",
    "上田",
    "遠藤",
    "大野",
    "岡",
    "加藤",
    "木村",
    "黒田",
    "小林",
    "佐野",
    "清水",
    "鈴村",
    "瀬川",
    "高橋",
    "田所",
    "千葉",
    "辻",
    "中村",
    "西",
    "野口",
    "橋本",
    "林",
    "原",
    "平野",
    "福田",
    "星",
    "前田",
    "松井",
    "三浦",
    "宮本",
    "村上",
    "森",
    "山下",
    "横田",
    "吉川",
    "渡",
]
GIVEN = [
    "アキ",
    "ユウ",
    "ケン",
    "タロ",
    "ハナ",
    "ミオ",
    "リク",
    "ソラ",
    "ナツ",
    "フミ",
    "サト",
    "ノゾミ",
    "カイ",
    "レン",
    "マコト",
    "シン",
    "トモ",
    "ユキ",
    "アオイ",
    "コハル",
    "ゲン",
    "ヨシ",
    "イチカ",
    "ジロ",
    "キヌ",
    "ツバサ",
    "ミツ",
    "タケル",
    "ヒナ",
    "スズ",
    "ロク",
    "モモ",
    "リン",
    "サヨ",
    "テツ",
    "ゴロ",
    "マリ",
    "エマ",
    "ジン",
    "クロ",
]
ROLES = [
    "先生",
    "社長",
    "店長",
    "校長",
    "刑事",
    "医者",
    "おばあさん",
    "おじさん",
    "母",
    "父",
    "兄",
    "妹",
    "隊長",
    "王様",
    "侍女",
    "運転手",
    "男の子",
    "女の子",
    "駅員",
    "記者",
]
OTHERS = ("Other", "Ｏｔｈｅｒ", "Others", "the other", "Other（スリ）")
SCRAPS = [
    "なに",
    "なんだ",
    "それは",
    "ちょっと",
    "まって",
    "だめだ",
    "いくよ",
    "そうか",
    "ほんとに",
    "どこへ",
    "ここは",
    "あの人",
    "昨日",
    "今日",
    "明日",
    "きっと",
    "たぶん",
    "でも",
    "だから",
    "聞いて",
    "早く",
    "誰か",
    "助けて",
    "ありがとう",
    "ごめん",
    "おはよう",
    "さようなら",
    "知らない",
    "分かった",
    "行こう",
    "帰ろう",
    "見て",
    "待って",
    "空",
    "風",
    "この町で",
    "私たちは",
    "何も",
    "全部",
    "本当は",
    "もう一度",
    "約束",
    "夢",
    "海",
    "光",
    "時間",
    "名前",
]
SOUNDS = [
    "ドン",
    "バン",
    "ガタ",
    "ザー",
    "ゴゴゴ",
    "ピタ",
    "キラ",
    "シーン",
    "ドキ",
    "バタン",
    "ヒュー",
    "カチ",
    "ワー",
    "ギャア",
    "コト",
]


def draw_title(rng: np.random.Generator, taken: set[str]) -> str:
    """A romanised name without blanks that is not in ``taken``, whatever the case of its letters.

    Now and then with an apostrophe or a hyphen, as the real ones have.
    """
    lower = {name.lower() for name in taken}
    while True:
        kind = rng.random()
        first, last = str(rng.choice(FIRST)), str(rng.choice(LAST))
        if kind < 0.42:
            name = first + last
        elif kind < 0.6:
            name = first + "No" + last
        elif kind < 0.7:
            name = f"{rng.choice(ENGLISH)}{rng.choice(ENGLISH)}"
        elif kind < 0.78:
            name = f"{rng.choice(ENGLISH)}-{last}"
        elif kind < 0.86:
            name = f"{first}'s{rng.choice(ENGLISH)}"
        elif kind < 0.92:
            name = f"{first}{first}-{str(rng.choice(ENGLISH)).upper()}"
        else:
            name = f"{rng.choice(ENGLISH)}{first}{last}"
        if name.lower() not in lower:
            return name


def draw_names(rng: np.random.Generator, count: int) -> list[str]:
    """``count`` different names of people."""
    names: list[str] = []
    while len(names) < count:
        kind = rng.random()
        if kind < 0.45:
            name = f"{rng.choice(FAMILY)}{rng.choice(GIVEN)}"
        elif kind < 0.75:
            name = str(rng.choice(GIVEN))
        elif kind < 0.9:
            name = f"{rng.choice(FAMILY)} {rng.choice(ROLES)}"
        else:
            name = str(rng.choice(ROLES))
        if name not in names:
            names.append(name)
    return names


def draw_line(rng: np.random.Generator, length: int) -> str:
    """A line of dialogue of about ``length`` characters, never empty."""
    text = ""
    while len(text) < length or not text:
        text += SCRAPS[int(rng.integers(len(SCRAPS)))]
    return text + ("", "…", "！", "？", "！？")[int(rng.integers(5))]
