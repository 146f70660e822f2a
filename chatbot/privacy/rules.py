"""What personal data looks like in folded text: patterns, checks and the words that stand near."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

Kind = Literal[
    "phone",
    "landline",
    "resident",
    "foreigner",
    "passport",
    "licence",
    "account",
    "card",
    "business",
    "email",
    "address",
    "plate",
    "url",
    "code",
    "name",
]


@dataclass(frozen=True)
class Rule:
    """A kind and how to see it; ``None`` is harmless, and its digits are hidden from the rules below it."""

    kind: Kind | None
    expression: str
    check: Callable[[str], bool] | None = None
    label: str | None = None  # a word that stands near; "\0" in it is the number itself

    # Compiled when first needed: all of them together take longer than a short reply.
    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Return the expression compiled."""
        return re.compile(self.expression)

    @cached_property
    def near(self) -> re.Pattern[str] | None:
        """Return the label words compiled."""
        return re.compile(self.label, re.IGNORECASE) if self.label else None


class Section(NamedTuple):
    """Rules that are looked at only where ``needs`` matches."""

    needs: re.Pattern[str]
    rules: tuple[Rule, ...]


# --- Checks --------------------------------------------------------------------------------------
# stdnum is loaded by the first number that needs it: it takes longer than a short reply.

DIGIT = re.compile("[0-9]")


def _digits(text: str) -> str:
    return "".join(DIGIT.findall(text))


def _born(text: str) -> bool:
    """Tell whether a registration number begins with a day that exists (its seventh digit is the century)."""
    from stdnum.exceptions import ValidationError
    from stdnum.kr import rrn

    try:
        rrn.get_birth_date(_digits(text))
    except ValidationError:
        return False
    return True


def _registered(text: str) -> bool:
    """Check the check digit of a registration number; a foreigner's is two more than a resident's.

    Numbers given out since October 2020 have none (주민등록법 시행규칙, 2020).
    """
    from stdnum.kr import rrn

    number = _digits(text)
    expected = int(rrn.calc_check_digit(number[:-1]))
    allowed = (expected, (expected + 2) % 10) if number[6] in "5678" else (expected,)
    return _born(text) and int(number[-1]) in allowed


def _luhn(text: str) -> bool:
    """Check a card's last digit (ISO/IEC 7812-1)."""
    from stdnum import luhn

    return luhn.is_valid(_digits(text))


def _business(text: str) -> bool:
    """Check a business registration number; stdnum knows its parts, not the tax service's check digit."""
    from stdnum.kr import brn

    number = _digits(text)
    total = sum(int(number[at]) * weight for at, weight in enumerate((1, 3, 7, 1, 3, 7, 1, 3, 5)))
    total += int(number[8]) * 5 // 10
    return brn.is_valid(number) and (10 - total % 10) % 10 == int(number[9])


_TIMESTAMP = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])")


def _account(text: str) -> bool:
    """Accounts have 10 to 16 digits; 202405011230 is a time."""
    number = _digits(text)
    return 10 <= len(number) <= 16 and not _TIMESTAMP.match(number)


_SECRET = re.compile(
    r"://[^/?#@]*@"  # a user and maybe a password
    r"|[?&#;](?:[\w.-]*(?:token|secret|passw|signature|session|auth|credential|invite|otp|jwt)[\w.-]*"
    r"|(?:[\w-]+[_-])?(?:key|sig|pwd|pw|sid|ticket|hash)|apikey|code)=[^&#]{4,}"
    r"|[\w.]@[\w-]+\.\w|(?<!\d)01[016789][-.]?\d{3,4}[-.]?\d{4}(?!\d)"  # an address or a number within
    r"|[/.](?:open|qr)\.kakao\.com/|discord(?:app)?\.(?:gg|com/invite)/|/t\.me/(?:\+|joinchat)"
    r"|chat\.whatsapp\.com/|line\.me/|(?:docs|drive|calendar)\.google\.com/|/forms\.gle/|meet\.google\.com/\w"
    r"|/(?:invite|join|reset|verify)/(?=[a-z_-]*\d)[\w-]{6}|qr\.kakaopay\.com/|/toss\.me/"
    r"|zoom\.us/[a-z]+/|teams\.(?:microsoft|live)\.com/|webex\.com/(?:meet|j)|join\.slack\.com/"
    r"|dropbox\.com/|1drv\.ms/|onedrive\.live\.com/|sharepoint\.com/|wetransfer\.com/|band\.us/n/",
    re.ASCII | re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_VALUE = re.compile(r"(?<=[/=])[A-Za-z0-9_-]{16,}(?!\w|\.\w{1,5}(?!\w))", re.ASCII)  # no file name
_OPAQUE = re.compile(
    r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{10,}|(?=[a-z]*[A-Z])(?=[A-Z]*[a-z])[A-Za-z]{20,}"
)


def _secret(url: str) -> bool:
    """Tell whether a link opens something by itself: a token, an invitation, a long opaque value."""
    if _SECRET.search(f"/{url}") or _UUID.search(url):
        return True
    return any(_OPAQUE.search(match.group()) for match in _VALUE.finditer(url))


# --- Patterns ------------------------------------------------------------------------------------
# Hangul belongs to \w, so \b would miss a number before a particle: _L and _R keep digits apart.

_L, _R = r"(?<!\d)(?<!\d[-.])", r"(?!\d)"
_SEP = r"[ \n]{0,2}[-.,:/)~_*]?[ \n]{0,2}"  # within telephone numbers, two bubbles included


def _groups(sizes: str, between: str = " ?- ?|[ .]") -> str:
    """Return a pattern for groups of digits, ``3-2-5``, with the same sign ``between`` them each time."""
    first, second, *others = (rf"\d{{{size}}}" for size in sizes.split("-"))
    return f"{_L}{first}(?P<sep>{between}){second}" + "".join(f"(?P=sep){group}" for group in others) + _R


_GLUED = " ?- ?|[ .]|"  # as above, or nothing between

# What is counted, measured or told the time by is not private: 4096원, 2024년, 3시.
_COUNTED = (
    r"(?! ?[만천억]? ?원| ?달러|만 ?[개명]|[개명번년월일시분초점도위회살세층장권잔병판쪽곡편대차호칸척평보배]"
    r"|[%℃A-Za-z]|자리|글자|인분|줄|걸음|칼로|키로|킬로|미터|페이|포인|바이|픽셀|화(?![가-힣]))"
)
_PROVINCE = "(?:서울|부산|대구|인천|광주|대전|울산|세종|강원|제주|[충전경][북남]|(?:충청|전라|경상)[북남])"
_HOST = r"(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,12}"
_URL = (
    rf"(?:(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{{1,15}}://|(?<![A-Za-z0-9@.-])(?:[wW]{{3}}\.|{_HOST}/))"
    # Hangul goes on only before more of the link: particles do not belong to it
    r"""[!#-&(-;=?-~]*(?:[가-힣]+(?=[/?#&=%_-])[!#-&(-;=?-~]*)*(?<=[A-Za-z0-9/=_#&%+~-])"""
)
_EMAIL = r"(?<![A-Za-z0-9])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24}"

_BIRTH = rf"{_L}\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_SPLIT = "(?: ?[-./] ?| )"
_LAST = rf"{_SEP}\d{{3,4}}{_SEP}\d{{4}}{_R}"
_MOBILE = rf"(?<!\d)(?<!\d-)(?:(?:\+|00)?82{_SEP}(?:\(0\)|0)?{_SEP}|0)1[016789]{_LAST}"
_AREA = "(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4])"
_LANDLINE = (
    rf"{_L}0(?:70|50\d?){_LAST}|(?<!\d)\+82{_SEP}\(?0?\)?(?:{_AREA}|70){_LAST}"
    # an area code alone would take any number that begins with 02: it needs a sign on one side
    rf"|{_L}0{_AREA}(?:(?: ?[-.)/] ?| )\d{{3,4}}[-. ]{{0,3}}|\d{{3,4}}(?: ?[-.] ?| ))\d{{4}}{_R}"
)
_OFFICE = "(?:1[1-9]|2[0-68])"
_LICENCE = rf"(?={_OFFICE}){_groups('2-2-6-2')}|(?<![가-힣]){_PROVINCE} ?-? ?\d\d-\d{{6}}-\d\d{_R}"
_PASSPORT = r"(?i:(?<![A-Z0-9])(?:[A-Z]-?\d{8}|[A-Z]{2}-?\d{7}|[A-Z]\d{3}[A-Z]\d{4})(?![A-Z0-9]))"
# The shapes of Shinhan, Kakao, Woori, Kookmin, Nonghyup and Hana: enough without a word near.
_BANK_SHAPES = "|".join(
    f"(?:{_groups(sizes, '-').replace('sep', f'sep{number}')})"
    for number, sizes in enumerate(("3-3-6", "4-2-7", "4-3-6", "6-2-6", "3-4-4-2", "3-6-5"))
)
_PLATE_SIGN = "[가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주바사아자배하허호육해공국합]"
_PLATE = (
    rf"(?:(?<![가-힣])(?:{_PROVINCE}|경기) ?\d{{1,2}}|(?<!\d)(?<!\d[-.,:])\d{{2,3}}) ?{_PLATE_SIGN}"
    rf"[ -]?\d{{4}}{_R}(?![-.,:]\d|[만천억조]){_COUNTED}"
)

# An address is places, a street or a quarter, its number, then building, floor and room.
# 구로 2번 출구, 홍대로 3시, 을지로4가, 길 2개 have no such number.
_BUILDING = "(?:아파트|빌라|빌딩|오피스텔|맨션|타워|주택|연립|단지|자이|캐슬|파크|하이츠|빌|타운|센터|상가)"
_TOWN = (
    r"(?:(?<=[가-힣]{2}[시군구] )(?<!다시 )(?<!친구 )(?<![렇있없했겠]군 )(?<![다라하었았냐자]구 )"
    r"|(?<=[중동서남북]구 ))"
)
_WITHIN = (
    rf"(?:(?<![가-힣])(?:{_PROVINCE}(?:특별자치[시도]|특별시|광역시|[시도])?|경기도"
    rf"|경기(?= [가-힣]{{2,4}}[시군] )) |{_TOWN})"  # alone, 경기 is a match or the economy
)
_LEVEL = (
    r"(?:(?:[가-힣]{2,5}[시군구]|[중동서남북]구|[가-힣]{1,5}\d{0,2}동|[가-힣]{1,4}\d가"
    r"|(?<=[시군구] )[가-힣]{1,5}[읍면]) )"
)
_LANE = r"\d{1,4}(?:번|[가-하])?길"
_STREET = rf"[가-힣]{{1,7}}\d{{0,3}}(?:(?<!으)로|길)(?: ?{_LANE})?"
_QUARTER = r"(?:[가-힣]{1,6}\d{0,2}동|[가-힣]{1,4}\d가|[가-힣]{1,5}[읍면] [가-힣]{1,5}\d?리)(?: ?산)?"
_LOT = r"\d{1,5}(?:-\d{1,5})?"
_HOUSE = (
    rf"{_LOT}(?: ?번지)?(?!\d)(?![-.:/~]\d|,\d{{3}}(?![\d동층호])|동|(?<!\d\d)가|[백천만억조여곳]){_COUNTED}"
    "(?! 걸| (?:개|명|시|분|번|원|장|잔|마리|시간|[만천대점쯤]|정도)[에을를이가은는만도쯤로]?(?![가-힣]))"
)
_ROOM = (
    r"(?:,? ?(?:\([가-힣\d]{1,12}(?:, ?[가-힣A-Za-z\d]{1,20})?\)|"
    rf"(?:[가-힣A-Za-z\d]{{0,12}}{_BUILDING} ?)?"
    r"(?:(?:지하 ?|제|B)?\d{1,4}|[A-Za-z가나다라마바])(?:동|층|호(?![선차기]))))"
)
_FLAT = r"\d{1,4}동 ?\d{1,4}호(?![선차기])"
_AFTER_STREET = r"(?:(?<=[가-힣]{2}[로길])(?<!으로)|(?<=[가-힣]{2}[로길] )(?<!으로 ))"
_AFTER_PLACE = r"(?:(?<=[가-힣][로길동리])|(?<=[가-힣][로길동리] )|(?<=[동리] 산)|(?<=[동리] 산 ))"
_AFTER_BLOCK = r"(?:(?<=[가-바]동)(?<![가-힣][가-바]동)|(?<=[가-바]동 )(?<![가-힣][가-바]동 ))"

# Words that tell what a number near them is.
_BANK = (
    "(?:국민|신한|우리|하나|기업|제일|씨티|토스|대구|부산|경남|광주|전북|제주|산업|카카오|농협|KB|NH|IBK|SC)"
)
_NEAR_ACCOUNT = (
    "계좌|은행|통장|입금|이체|송금|예금주|뱅크|뱅킹|농협|수협|신협|새마을금고|우체국|카뱅|케뱅"
    rf"|{_BANK}[ :은(]*\0|\0[ ,/()]*{_BANK}|\0(?:으로|로|에)? ?(?:보내|부쳐|넣어|쏴)"
)
_NEAR_CARD = "카드|card|신용|체크"
_NEAR_LANDLINE = "전화|연락|번호|문자|통화|팩스|(?<![a-z])(?:tel|fax)"
_NEAR_HOME = "주소|배송|사는 ?[곳데]|살아|살고|거주|도로명"
_PASSWORD = "인증 ?(?:번호|코드|키)|비밀 ?번호|비번|패스워드|암호|otp|passw[a-z]*|passcode"
_NEAR_CODE = (
    "인증(?!샷|사진|서|기관|업체)|비밀 ?번호|비번|패스워드|암호(?!화)|otp|passw|passcode|verification"
    r"|핀 ?번호|(?<![a-z])pin(?![a-z])|code is|is your|현관[ :은]{0,2}[#*]?\0"
    "|(?:보안|접속|승인|초대|입장|확인) ?(?:코드|번호)|(?:현관|도어락|출입|공동)[가-힣 ]{0,4}(?:코드|번호)"
)
# 상담 1388, 대표번호 1588: numbers anybody may call
_PUBLIC = "(?:13(?:30|45|50|66|88|93)|15(?:44|66|77|88|99)|16(?:00|44|61|66|70|88)|18(?:00|33|55|77|99))"
_ORDERED = (
    r"(?:(?:주문|예약|접수|상품|제품|모델|시리얼|일련|문의|티켓) ?(?:번호|코드|넘버)|(?:송장|등기)(?: ?번호)?"
    r"|택배|품번|ISBN)(?:[은는이가]| ?[:#=])? ?#?\d[\d-]*"
)
_DATE = rf"{_L}(?:19|20)\d\d(?P<sep>[-./])(?:0?[1-9]|1[0-2])(?P=sep)(?:0?[1-9]|[12]\d|3[01])(?!-?\d)"
_WORD_WITH_DIGIT = (
    r"(?<![A-Za-z0-9])(?!0x)(?=[A-Za-z!@#$%^&*_-]{0,24}\d)(?=[\d!@#$%^&*_-]{0,24}[A-Za-z])"
    r"[A-Za-z\d][A-Za-z\d!@#$%^&*_-]{4,23}(?![A-Za-z\d])"
)


RULES: tuple[Section, ...] = (
    Section(
        re.compile(r"/|[wW]{3}\."),
        (
            Rule("url", _URL, _secret),
            Rule(None, _URL),  # a plain link may hold any number
        ),
    ),
    # RFC 5321, as far as people use it
    Section(re.compile("@"), (Rule("email", _EMAIL),)),
    Section(
        re.compile(
            # nine digits, stars after some, or a passport
            r"(?:\d[-.,:/()+~_*xX \n]{0,9}){8}\d|\d ?[-.]? ?[*xX]{2}"
            r"|[A-Za-z]-?\d{7}|[A-Za-z]\d{3}[A-Za-z]\d{4}"
        ),
        (
            # 주민등록법 (Ministry of the Interior), 출입국관리법 (Justice): birth, then century and sex
            Rule("resident", rf"{_BIRTH} ?-? ?(?:[1-4]\d{{0,4}}[*xX]{{2,6}}|[*xX]{{7}})"),
            Rule("foreigner", rf"{_BIRTH} ?-? ?[5-8]\d{{0,4}}[*xX]{{2,6}}"),
            Rule("resident", rf"{_BIRTH}{_SPLIT}[1-4]\d{{6}}{_R}(?! ?원)", _born),
            Rule("foreigner", rf"{_BIRTH}{_SPLIT}[5-8]\d{{6}}{_R}(?! ?원)", _born),
            # ISO/IEC 7812-1: the schemes, American Express in its own shape, and what is called a card
            Rule("card", "(?=[2-69])" + _groups("4-4-4-4", _GLUED), _luhn),
            Rule("card", "(?=3[47])" + _groups("4-6-5", _GLUED), _luhn),
            Rule(
                "card",
                rf"{_L}\d{{4}}(?P<sep>{_GLUED})(?:[\d*xX]{{4}}(?P=sep)){{2}}\d{{4}}{_R}",
                label=_NEAR_CARD,
            ),
            # 전기통신번호관리세칙 (Ministry of Science and ICT)
            Rule("phone", _MOBILE),
            Rule("landline", _LANDLINE),
            # Harmless numbers that looser rows below would take: calls free of charge, orders, dates, books
            Rule(None, rf"{_L}080[-. )]?\d{{3,4}}[-. ]?\d{{4}}{_R}"),
            Rule(None, _ORDERED),
            Rule(None, _DATE),
            Rule(None, rf"{_L}97[89](?:-\d{{1,7}}){{3}}-\d{_R}"),
            # Thirteen digits alone may be anything: their check digit or a word tells
            Rule("resident", rf"{_BIRTH}[1-4]\d{{6}}{_R}", _registered),
            Rule("foreigner", rf"{_BIRTH}[5-8]\d{{6}}{_R}", _registered),
            Rule("resident", rf"{_BIRTH}[1-4]\d{{6}}{_R}", _born, "주민|민증|신분증|등록 ?번호"),
            Rule("foreigner", rf"{_BIRTH}[5-8]\d{{6}}{_R}", _born, "외국인|거소|신분증|등록 ?번호"),
            # National Tax Service (부가가치세법 시행령): office, kind of business, serial and check digit
            Rule("business", _groups("3-2-5") + r"(?!-\d)", _business),
            Rule("business", _groups("3-2-5", _GLUED), label="사업자"),
            # 여권법 시행규칙 (Ministry of Foreign Affairs): M12345678, M123A4567 since 2021, once two letters
            Rule("passport", _PASSPORT, label="여권|passport"),
            # 도로교통법 시행규칙 (National Police Agency): office, year, serial and check digits
            Rule("licence", rf"{_L}{_OFFICE}\d{{10}}{_R}", label="면허"),
            Rule("licence", _LICENCE, label="면허"),
            # Each bank's own
            Rule(
                "account",
                rf"{_L}\d{{2,8}}(?P<sep> ?- ?|[ .])\d{{2,10}}(?:(?P=sep)\d{{1,8}}){{0,3}}{_R}"
                r"(?![-:]\d| ?[만천억]?원)",
                _account,
                _NEAR_ACCOUNT,
            ),
            Rule("account", rf"{_L}(?<!,)\d{{10,16}}{_R}(?![-.,:]\d){_COUNTED}", _account, _NEAR_ACCOUNT),
            Rule("licence", rf"(?={_OFFICE}){_groups('2-2-6-2', '-')}(?!-)"),
            Rule("account", f"(?!97[89])(?:{_BANK_SHAPES})(?!-)", _account),
            Rule("landline", rf"{_L}0{_AREA}\d{{7,8}}{_R}", label=_NEAR_LANDLINE),
        ),
    ),
    # 도로명주소법 for streets, 공간정보관리법 for lots (Ministries of the Interior and of Land)
    Section(
        re.compile(r"[로길동리산하] ?\d|\d동"),
        (
            Rule(
                "address",
                rf"{_WITHIN}{_LEVEL}{{0,3}}(?:{_STREET}|{_QUARTER}) ?(?:지하 ?)?{_HOUSE}{_ROOM}{{0,5}}",
            ),
            Rule("address", rf"{_WITHIN}{_LEVEL}{{1,3}}(?:[가-힣A-Za-z\d]{{0,12}}{_BUILDING} ?)?{_FLAT}"),
            Rule("address", rf"{_AFTER_STREET}{_LANE} ?{_HOUSE}{_ROOM}{{0,5}}"),
            Rule("address", rf"{_AFTER_PLACE}{_LOT}(?: ?번지)?(?:, ?| ){_ROOM}{{1,5}}"),
            Rule("address", rf"{_AFTER_PLACE}{_LOT} ?번지(?!점){_ROOM}{{0,5}}"),
            Rule("address", rf"{_L}{_FLAT}|(?<![A-Za-z])[A-Za-z]동 ?\d{{2,4}}호|{_AFTER_BLOCK}\d{{2,4}}호"),
            Rule("address", rf"(?:{_AFTER_STREET}|(?<=[가-힣]{{2}}동 )){_HOUSE}", label=_NEAR_HOME),
        ),
    ),
    # 자동차 등록번호판 등의 기준에 관한 고시 (Ministry of Land); with the province until 2004
    Section(re.compile(rf"\d ?{_PLATE_SIGN}[ -]?\d{{4}}"), (Rule("plate", _PLATE),)),
    # Verification codes and passwords: nobody defines them
    Section(
        re.compile(r"\d{4}|\d[- ]\d|[A-Za-z]\d|\d[A-Za-z]"),
        (
            Rule(None, _ORDERED),
            Rule("code", _WORD_WITH_DIGIT, label=rf"(?:{_PASSWORD})[은는이가:= ]{{0,4}}\0"),
            Rule(
                "code",
                rf"(?<!\d)(?<!\d[-.,:/])(?:(?<![A-Za-z])|(?<=[oO][tT][pP]))(?!{_PUBLIC}(?!\d))\d{{4,8}}{_R}"
                rf"(?![-.,:/]\d){_COUNTED}",
                label=_NEAR_CODE,
            ),
            Rule(
                "code",
                rf"{_L}(?<!\d )(?:\d{{3}}[- ]\d{{3}}|\d(?: \d){{3,7}}){_R}(?![-.,:/]\d){_COUNTED}",
                label=_NEAR_CODE,
            ),
        ),
    ),
)


# --- Streams: what may still go on ---------------------------------------------------------------

_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_IN_NUMBER = "0123456789 \n.-,:/()+~_*xX"
_WORD_START, _NUMBER_START = re.compile("[A-Za-z0-9+]"), re.compile("[0-9+]")
_LINK = re.compile(r"(?:://|[wW]{3}\.|\.[A-Za-z]{2,12}/)")
_WORD_OF_ADDRESS = rf"[^ \n]{{0,24}}(?:[시군구읍면동리가로길층호지하산\d,)]|{_BUILDING}) "
_OPEN_ADDRESS = rf"(?:{_WORD_OF_ADDRESS}){{0,12}}[^ \n]{{0,24}}\Z"
_OPEN = re.compile(
    # a province, from its first syllable
    r"(?<![가-힣])(?:[서부대인광울세강제충전경]|충청|전라|경상)\Z"
    rf"|(?<![가-힣])(?:{_PROVINCE}|경기)[특별광역자치시도]{{0,5}}"
    rf"(?:\Z| {_OPEN_ADDRESS}| ?-? ?\d[^가-힣]*{_PLATE_SIGN}?[ \d-]*\Z)"
    rf"|{_TOWN}{_OPEN_ADDRESS}|{_AFTER_PLACE}(?=\d){_OPEN_ADDRESS}"
    rf"|(?<!\d)\d{{2,3}} ?{_PLATE_SIGN}[ -]?\d{{0,4}}\Z"
    r"|(?:(?<!\d)\d{1,4}|(?<![A-Za-z])[A-Za-z])동 ?\d{0,4}\Z"
)


def open_from(text: str) -> int:
    """Return where the end of ``text`` begins that characters to come may turn into personal data."""
    starts = [len(text)]
    word = _WORD_START.search(text, len(text.rstrip(_ASCII)))
    number = _NUMBER_START.search(text, len(text.rstrip(_IN_NUMBER)))
    link = _LINK.search(text, max(text.rfind(" "), text.rfind("\n")) + 1)
    starts += [match.start() for match in (word, number, _OPEN.search(text)) if match]
    if link:
        starts.append(len(text[: link.start()].rstrip(_ASCII)))
    return min(starts)
