"""What the self-made English corpus says: the kinds of utterances of CMU AN4's census task.

Spelled names, numbers, telephone numbers, dates and commands, drawn at random from the words of
that task. Names and numbers are made here; no transcript of AN4 is used.
"""

# ruff: noqa: SIM905 (a list of words is easier to read as a line of text)
from __future__ import annotations

from random import Random

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
VOCABULARY = frozenset(
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


def sentence(generator: Random) -> str:
    """One utterance, upper case, the kinds about as frequent as in the census task."""
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
    return " ".join(kind(generator))


def words(text: str) -> list[str]:
    """The units that carry a time: words, single letters among them."""
    return text.split()


def spoken(text: str) -> str:
    """How espeak-ng is asked for it: the letter A not as an article, Z the American way."""
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
    """Postal codes, telephone numbers and the like."""
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
