"""Sentences of the synthetic corpora: read from a text, or generated.

Most languages have a grammar of everyday sentences (`grammars`).

English: the kinds of utterances of CMU AN4's census task: spelled names, numbers, telephone
numbers, dates and commands, drawn at random from the words of that task. No transcript of AN4 is
used.

Mandarin: strings of digits and short commands. Only characters that espeak-ng marks one by one are
used, so that each has a start time; it merges some words (音乐, 空调, 停止) into one unit.
"""

# ruff: noqa: SIM905 (a list of words is easier to read as a line of text)
from __future__ import annotations

from pathlib import Path
from random import Random

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.corpora.synthetic import grammars
from keyframe_asr.errors import ManifestError
from keyframe_asr.io.text_file import read_lines
from keyframe_asr.text.forms import Normaliser, normaliser
from keyframe_asr.text.numbers import has_digits
from keyframe_asr.text.scripts import is_han

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = tuple("ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split())
TEENS = tuple(
    "TEN ELEVEN TWELVE THIRTEEN FOURTEEN FIFTEEN SIXTEEN SEVENTEEN EIGHTEEN NINETEEN".split()
)
TENS = tuple("TWENTY THIRTY FORTY FIFTY SIXTY SEVENTY EIGHTY NINETY".split())
ORDINALS = tuple(
    "FIRST SECOND THIRD FOURTH FIFTH SIXTH SEVENTH EIGHTH NINTH TENTH ELEVENTH TWELFTH THIRTEENTH "
    "FOURTEENTH FIFTEENTH SIXTEENTH SEVENTEENTH EIGHTEENTH NINETEENTH TWENTIETH THIRTIETH".split()
)
MONTHS = tuple(
    "JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER".split()
)
SINGLE_COMMANDS = tuple("YES NO GO STOP START HELP REPEAT".split())
LETTER_COMMANDS = ("RUBOUT", "ERASE")
OTHERS = tuple("ENTER OH ZERO HUNDRED THOUSAND AND A HALF OF AREA CODE APOSTROPHE".split())
ENGLISH_VOCABULARY = frozenset(
    LETTERS + DIGITS + TEENS + TENS + ORDINALS + MONTHS + SINGLE_COMMANDS + LETTER_COMMANDS + OTHERS
)

SPELLED = tuple(
    "ADAMS ALICE ANDREW ANGELA ANTHONY AVENUE BAKER BARBARA BENNETT BOSTON BRADLEY BROOKS BUTLER "
    "CAROL CARTER CATHERINE CHARLES CHICAGO CLARK COLEMAN CRAWFORD CYNTHIA DALLAS DAVIS DEBORAH "
    "DENVER DIANE DONALD DOROTHY DOUGLAS DRIVE EDWARDS ELIZABETH ELLIOTT EMILY EUGENE EVANS FISHER "
    "FLORIDA FOSTER FRANCES FRANK FREDERICK GARCIA GEORGE GILBERT GRAHAM GRIFFIN HARRIS HAROLD "
    "HELEN HENRY HILL HOUSTON HOWARD HUBERT HUNTER INGRID ISABEL JACKSON JACQUELINE JAMES JENKINS "
    "JESSICA JOSEPH JOYCE JUDITH KATHRYN KELLY KENNEDY KEVIN KIMBERLY KNIGHT LAKE LAURA LAWRENCE "
    "LEWIS LINCOLN LOUIS MADISON MARGARET MARTINEZ MATTHEW MAXWELL MELISSA MICHELLE MITCHELL "
    "MORGAN MURPHY NANCY NATALIE NELSON NICHOLAS NORMAN OLIVER OWENS PALMER PARKER PATRICIA PAUL "
    "PERKINS PHILIP PHOENIX PRINCE QUENTIN QUINN RACHEL RALPH RAYMOND REBECCA REYNOLDS RICHARD "
    "RIVER ROBERT RODRIGUEZ RUSSELL RUTH SAMUEL SANDRA SHIRLEY SIMMONS SPENCER STANLEY STREET "
    "SULLIVAN SUSAN TAYLOR THERESA THOMPSON TIMOTHY TUCKER URSULA VALERIE VICTOR VINCENT VIRGINIA "
    "WALKER WALLACE WANDA WASHINGTON WEBSTER WHEELER WILLIAMS XAVIER YOLANDA YORK YOUNG YVONNE "
    "ZACHARY ZIMMERMAN".split()
)
"""Words to spell: names of people and places."""

MANDARIN_DIGITS = "零一二三四五六七八九"
LONGEST_MANDARIN_STRING = 7
MANDARIN_COMMANDS = (
    "打开灯",
    "关闭灯",
    "打开电视",
    "关闭电视",
    "打开窗帘",
    "关闭窗帘",
    "打开风扇",
    "关闭风扇",
    "打开{}号灯",
    "关闭{}号灯",
    "音量{}",
    "播放新闻",
    "大声",
    "小声",
    "暂停",
    "继续",
    "前进",
    "后退",
    "左转",
    "右转",
    "打电话",
    "拍照",
    "回家",
    "取消",
    "确定",
)
"""`{}` stands for one of `MANDARIN_COMMAND_DIGITS`."""
MANDARIN_COMMAND_DIGITS = MANDARIN_DIGITS[2:]
"""Without 一, because espeak-ng marks 一号 as one unit."""


def primary(tag: str) -> str:
    """Return the language of a tag without its region or script: `de` of `de-AT`."""
    language = tag.replace("_", "-").partition("-")[0].lower()
    return {"cmn": "zh"}.get(language, language)


def languages() -> tuple[str, ...]:
    """Return the languages with sentences of their own, as tags."""
    return tuple(sorted(("en", "zh", *grammars.languages())))


def draw(tag: str, split: str, generator: Random) -> tuple[str, str]:
    """Draw a sentence of a language: its transcript, and the input of espeak-ng."""
    language = primary(tag)
    if language == "en":
        return english_sentence(generator)
    if language == "zh":
        return mandarin_sentence(generator)
    sentence = grammars.grammar(language).draw(generator, split)
    return sentence, sentence


def read_sentences(path: Path, tag: str, form: TextForm) -> tuple[str, ...]:
    """Read the distinct lines of a file in the form of a language, in order.

    A line may have a tab and, after it, what espeak-ng is to read, such as kana for Japanese.
    Without one, lines are left out whose text would differ from what is spoken: those with digits,
    with letters that the form drops, or with Han characters in a language other than Chinese.

    Returns:
        Lines of `SyntheticCorpus`.

    Raises:
        ManifestError: the file cannot be read, or no line can be spoken.
    """
    normal = normaliser(form)
    spoken: dict[str, str] = {}
    for line in read_lines(path, "give a text file with one sentence per line", ManifestError):
        written, _, reading = line.partition("\t")
        text = normal(written)
        if any(map(str.isalpha, text)) and (reading or _is_spoken(written, text, tag, normal)):
            spoken.setdefault(text, reading.strip() or _reading(written, text, tag))
    if not spoken:
        raise ManifestError(
            f"{path}: contains no sentence in {tag}; give one sentence per line, without digits"
        )
    return tuple(f"{text}\t{reading}" for text, reading in spoken.items())


def _is_spoken(written: str, text: str, tag: str, normal: Normaliser) -> bool:
    """True if espeak-ng reads a line as it is written."""
    if has_digits(written) or normal.lost(written):
        return False
    if tag == "zh":
        return all(map(is_han, text))
    return _is_chinese(tag) or not any(map(is_han, text))


def _is_chinese(tag: str) -> bool:
    return primary(tag.partition("+")[0]) in ("zh", "yue", "hak")


def _reading(written: str, text: str, tag: str) -> str:
    return text.lower() if tag in ("en", "zh") else written.strip()


def mandarin_sentence(generator: Random) -> tuple[str, str]:
    """Draw a string of digits (two times out of three) or a command; returned twice."""
    if generator.random() < 2 / 3:
        count = generator.randint(1, LONGEST_MANDARIN_STRING)
        text = "".join(generator.choices(MANDARIN_DIGITS, k=count))
    else:
        command = generator.choice(MANDARIN_COMMANDS)
        text = command.format(generator.choice(MANDARIN_COMMAND_DIGITS))
    return text, text


def english_sentence(generator: Random) -> tuple[str, str]:
    """Draw an utterance of the census task: in upper case, and as espeak-ng is to read it.

    The kinds are about as frequent as in the task.
    """
    kinds = {
        _spelled_name: 25,
        _spelled_letters: 6,
        _digits: 17,
        _number: 12,
        _date: 6,
        _single_command: 9,
        _enter: 8,
        _letter_command: 9,
        _letters_and_number: 8,
    }
    kind = generator.choices(list(kinds), weights=list(kinds.values()))[0]
    text = " ".join(kind(generator))
    return text, english_spoken(text)


def english_spoken(text: str) -> str:
    """Return the input of espeak-ng: A is spoken as a letter, Z as in American English."""
    lone = {"A": "[['eI]]", "Z": "[[z'i:]]"}
    return " ".join(lone.get(word, word.lower()) for word in text.split())


def _spelled_name(generator: Random) -> list[str]:
    letters = list(generator.choice(SPELLED))
    if generator.random() < 0.03:
        return [letters[0], "APOSTROPHE", *letters[1:]]
    return letters


def _spelled_letters(generator: Random) -> list[str]:
    return generator.choices(LETTERS, k=generator.randint(1, 9))


def _digits(generator: Random) -> list[str]:
    """Draw a string of digits such as a postal code or a telephone number."""
    if generator.random() < 0.05:
        return ["AREA", "CODE", *_digit_string(generator, 3)]
    return _digit_string(generator, generator.choice((3, 4, 5, 5, 7, 7, 10)))


def _digit_string(generator: Random, count: int) -> list[str]:
    return generator.choices((*DIGITS, "OH", "ZERO"), weights=[2] * 9 + [1, 1], k=count)


def _number(generator: Random) -> list[str]:
    parts = [word for _ in range(generator.randint(1, 3)) for word in _below_hundred(generator)]
    ending = generator.random()
    if ending < 0.08:
        return [generator.choice(DIGITS), "HUNDRED", *_below_hundred(generator)]
    if ending < 0.14:
        return [*_below_hundred(generator), "THOUSAND"]
    if ending < 0.18:
        return [*parts, "AND", "A", "HALF"]
    return parts


def _below_hundred(generator: Random) -> list[str]:
    kind = generator.randrange(4)
    if kind == 0:
        return [generator.choice((*DIGITS, "OH", "ZERO"))]
    if kind == 1:
        return [generator.choice(TEENS)]
    tens = generator.choice(TENS)
    return [tens] if kind == 2 else [tens, generator.choice(DIGITS)]


def _date(generator: Random) -> list[str]:
    month, ordinal = generator.choice(MONTHS), generator.choice(ORDINALS)
    day = [ordinal]
    if ORDINALS.index(ordinal) < 9 and generator.random() < 0.4:
        day = ["TWENTY", ordinal]
    year = ["NINETEEN", generator.choice(TENS), generator.choice(DIGITS)]
    if generator.random() < 0.2:
        return [*day, "OF", month, *year]
    return [month, *day, *year]


def _single_command(generator: Random) -> list[str]:
    return [generator.choice(SINGLE_COMMANDS)]


def _enter(generator: Random) -> list[str]:
    return ["ENTER", *_number(generator)]


def _letter_command(generator: Random) -> list[str]:
    return [generator.choice(LETTER_COMMANDS), *_letters_and_number(generator)]


def _letters_and_number(generator: Random) -> list[str]:
    letters = generator.choices(LETTERS, k=generator.randint(3, 5))
    if generator.random() < 0.4:
        return [*letters, *_digit_string(generator, generator.randint(1, 4))]
    return [*letters, *_number(generator)]
