"""Recognising people in need before any backend answers, and filtering what backends say.

Crisis recognition is a set of patterns over the text without spaces and punctuation, so that
typos in spacing do not hide a call for help. It was made with the dev half of
``data/eval/crisis.jsonl``; figures are reported on the test half. It prefers a false alarm to a
missed person, except for the idioms (``배고파 죽겠다``) that everybody uses daily.
"""

from __future__ import annotations

import json
import re
from functools import cache

from chatbot.dialogue import Conversation, Reply
from chatbot.resources import data_dir
from chatbot.style import Style
from chatbot.text import squeeze

BACKEND = "safety"

# Idioms and neighbours of the words below; cut out before anything is looked for.
_HARMLESS = re.compile(
    r"자살골|유서깊|살자(?=[가-힣])|"
    r"(?:배고파|배불러|더워|추워|웃겨|귀여워|예뻐|이뻐|심심해|지루해|졸려|피곤해|힘들어|아파|매워|바빠|급해"
    r"|답답해|짜증나|궁금해|보고싶어|좋아|싫어|무서워|부러워|창피해|쪽팔려|재밌어|맛있어|목말라|떨려|긴장돼"
    r"|설레|미안해|억울해|화나|더러워|시끄러워|귀찮아|외로워)(?:서)?(?:진짜)?죽(?:겠|을것?같|을뻔|는줄)"
)

_PERSON = r"(?:남편|아내|와이프|남자친구|남친|여자친구|여친|애인|엄마|아빠|아버지|어머니|부모|계부|계모|오빠|언니|누나|형|삼촌|선배|동거인|그사람|그놈)"
_SELF = r"(?:내|제|자기)(?:가)?(?:몸|살|팔|손목|손등|허벅지|머리)"

_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (label, re.compile("|".join(parts)))
    for label, parts in (
        (
            "abuse",
            (
                r"성폭행|성추행|강간(?!의)|성폭력|몰카(?:에|를)?(?:찍|당)|불법촬영|아동학대|학대(?:당|받|하)",
                r"스토킹|스토커",
                r"(?:모르는사람|누가|그남자|전남친|전여친|어떤사람).{0,12}(?:쫓아와|따라와|미행|집앞에서기다)",
                r"(?:새아빠|의붓|계부|삼촌|선생|코치|사장|상사|오빠).{0,8}(?:내방에|방에들어와|만져|만졌|더듬|몸을|벗으라|벗기)",
                r"(?:엄마|아빠|부모님?|보호자).{0,4}밥[을도]?안[주줘].{0,12}",
            ),
        ),
        (
            "violence",
            (
                _PERSON + r".{0,10}(?:나를|날|저를|절|우리를)?(?:때려|때렸|때리|맞았|두들겨|발로차|발로찼|패요|팼|폭행|허리띠)",
                _PERSON + r".{0,8}목을?(?:조르|조른|졸라|졸랐)",
                r"(?:칼|흉기|망치)[을를]?들고.{0,8}(?:협박|위협|와|왔|서있|쫓)",
                r"(?:가정|데이트)폭력|매맞는|맞고살|죽여버리겠|죽이겠다[고며는]|죽인다고(?:협박|문자|연락|전화|해)",
                r"(?:협박|위협|폭행|구타)[을를]?(?:당하|당했|당해|받고|받았|하고있|해요|해서무)",
                r"문을?부수(?:려|고들|며)",
            ),
        ),
        (
            "self-harm",
            (
                r"자[0-9]?해(?:를|하|했|흉|충|자국|도구|상처|로|한|할|해|중)|자해$",
                r"손목.{0,4}(?:그었|긋고|긋는|긋고십|그을|그어|그은|벤|베고)|(?:또|안|다시|칼로)(?:그었|긋고|그으려?|그을)|그은(?:데|곳|자국|상처)",
                r"상처[를]?내(?:는|고|야|면|ㄴ|$)|피를?(?:봐야|볼때|보고싶|보면(?:살|편|안심|풀)|날때까지)",
                _SELF + r".{0,8}(?:할퀴|긁어|긋|그어|지졌|지지|때려|때리|베|물어뜯|박아)|머리를?(?:박아|박고|찧)",
                r"담뱃?불로|나를(?:때리고|벌주고)싶|몸에상처",
            ),
        ),
        (
            "suicide",
            (
                r"(?:죽|뒤지|뒤져|디지|뒈지|듀거|주거|죽어)(?:버리)?[고구](?:만)?[싶십시]",
                r"자[0-9]*살(?:이|을|하|할|했|생각|충동|시도|방법|해|각|예방|마렵|$)|ㅈㅅ(?:하|할|각|마렵|생각|충동|해|ㅎ|$)|자살",
                r"죽었으면(?:좋|해|싶|한)|죽어버릴|죽어야(?:끝|겠|하|될|되|할|해|돼)|죽으면(?:끝|편|다끝|될|좋|되|아무|그만|고통)|죽는게(?:낫|나을|편|나아)",
                r"죽[을으](?:려고|러갈|래$|생각|결심|준비|용기|거야$|거예요$|날)|죽는(?:방법|법|약)|(?:안아프게|고통없이|편하게|편히|조용히)(?:죽|가는|가고|갈)",
                r"죽겠다(?:고|는|며).{0,6}(?:문자|연락|전화|카톡|말|글|했|해)",
                r"(?:살고|살아가고|살아있고)싶지[가는도]?않|살기[가도는]?(?:싫|시[러름르])|(?:그만|이제그만|더는못|더못)(?:살[래고자까]|살겠|가고싶)",
                r"(?:살|살아야할?|살아갈|살아있을)이유[를가도]?(?:모르|없|못찾)|왜살아야|사는게(?:의미[가도]?없|무의미)|삶을?(?:끝|포기|내려놓)",
                r"유서[를]?(?:썼|써|쓰|남|적)|유언|목숨[을]?(?:끊|버리|던지)|목[을]?(?:매[고달단려]|맬)|생을?마감|극단적(?:인)?(?:생각|선택|시도)",
                r"(?:이)?세상[을]?(?:떠나|뜨고|등지|하직)|(?:이)?세상에(?:서)?(?:없|사라)|하늘나라로?(?:가고|갈래|가려)",
                r"(?:내가|나|저|제가)(?:만|같은건|같은사람은|같은거|하나)?(?:없[으어]|사라[지져])(?:면|지면|져도|어도|지는게|는게|져야).{0,12}(?:편|나을|나아|모를|좋|행복|낫|슬퍼)",
                r"(?:나|저)같은건?.{0,6}(?:없어|사라)|없어지려고|(?:그냥|조용히|영영|영원히|이대로|흔적도없이|다놓고)(?:사라지고|없어지고|사라졌으면|없어졌으면|눈감고)",
                r"태어나(?:지|질)?말|안태어났|(?:신변|주변|유품)(?:을)?정리(?:를)?(?:다|했|하|끝|중)|눈[을]?(?:안뜨|안떴|뜨지않|뜨기싫|감고싶|감았으면)",
                r"뛰어(?:내리고싶|내리려|내릴까|내릴래|내리면(?:끝|될|편|죽|다))|(?:한강|옥상|난간|다리위|철로|베란다).{0,10}(?:뛰|아래만|서있|가고싶|갈까|올라왔|생각|내려다)",
                r"(?:모아둔|모은|남은|있는)(?:수면)?약|약을?(?:한꺼번에|한번에|통째로|왕창|다)(?:먹|삼|털)|번개탄|수면제.{0,4}(?:많이|다|몇알|한통)",
                r"(?:다|모두|전부|모든걸|이제|그만)끝내(?:려|고싶|버리|버릴|ㄹ래|는게|야겠|기로)|(?:버티고|까지만).{0,6}(?:끝내|갈게|떠날)",
                r"그동안.{0,12}고마웠.{0,14}(?:안녕|갈게|잘지내|잘있어|마지막)|마지막(?:인사|으로인사|편지)|이제(?:진짜|정말)(?:안녕|마지막이)|나눠줬.{0,14}(?:쓸일이|필요)",
                r"떠나기만하면|숨(?:쉬는것도|쉬기)(?:지|싫)|숨을?(?:그만|멈추고)|(?:내일|다음주|이번주)(?:엔|에는|이면|부턴)?(?:난|나는|저는|전)?(?:이세상|여기|세상)(?:에)?없을",
            ),
        ),
    )
)

_BANNED = re.compile(
    r"(?:씨|시|ㅅ)[\s1]*(?:발|팔|ㅂ)(?![가-힣]*(?:점|역|생|음|전|매|령|목))|병신|ㅂㅅ|개새끼|지랄|꺼져라|뒤져라|죽어버려|나가\s?죽어|창녀|걸레년"
)
_DEFLECTION = {
    "polite": "그 말은 제가 하지 않는 게 좋겠어요. 다른 이야기를 해 볼까요?",
    "casual": "그 말은 내가 안 하는 게 좋겠어. 다른 얘기 하자.",
}


def crisis(text: str) -> str | None:
    """Return ``suicide``, ``self-harm``, ``violence`` or ``abuse`` if ``text`` speaks of it, else ``None``."""
    plain = _HARMLESS.sub("", squeeze(text))
    return next((label for label, pattern in _PATTERNS if pattern.search(plain)), None)


def crisis_reply(label: str, conversation: Conversation, style: Style) -> Reply:
    """Return a reply that takes the crisis seriously and names the Korean help lines.

    Replies are not repeated until all have been said: the same sentence twice sounds like a machine
    that is not listening.
    """
    replies = _crisis_replies()[label][style]
    said = conversation.said("assistant")
    text = min(replies, key=said.count)
    return Reply(text, backend=BACKEND, model=label)


def acceptable(text: str) -> bool:
    """Tell whether a reply may be shown: no slurs, nothing that wishes a person dead."""
    return not _BANNED.search(text)


def deflection(style: Style) -> str:
    """Return what to say in place of a reply that is not :func:`acceptable`."""
    return _DEFLECTION[style]


@cache
def _crisis_replies() -> dict[str, dict[str, list[str]]]:
    return json.loads((data_dir() / "replies" / "crisis.json").read_text(encoding="utf-8"))
