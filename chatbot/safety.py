"""Recognising people in need and talk of whole groups before a backend answers; filtering what it says.

Crisis recognition is a small classifier over character n-grams, with patterns over the text
without spaces and punctuation as further evidence, so that typos in spacing do not hide a call for
help. Both were made with the dev half of ``data/eval/crisis.jsonl``; figures are reported on the test
half. It prefers a false alarm to a missed person, except for the idioms (``배고파 죽겠다``) that
everybody uses daily.

What is said about a group of people (``요즘 애들은 버릇이 없어``) is recognised by a classifier of the same
kind. A model that makes up its words might say anything to that; careful words are said in its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from chatbot.dialogue import Conversation, Reply
from chatbot.models.ngram import shipped_classifier
from chatbot.stock_replies import replies_to, stock_replies
from chatbot.style import Style
from chatbot.text import squeeze

BACKEND = "safety"
GROUP = "group"
_TOO_SHORT = 3  # letters
Danger = Literal["suicide", "self-harm", "violence", "abuse"]

# 과자 살래, 혼자 살아: what looks like 자살 once spaces are gone. Looked for while they are there.
_BUYING_OR_LIVING = re.compile(r"(?<=[가-힣])자\s+살|[혼과피모의여남사상감부글숫환]자살")
# Idioms and neighbours of the words below; cut out before anything is looked for.
_HARMLESS = re.compile(
    r"자살골|유서깊|살자(?=[가-힣])|(?<!안)(?<!그만)살기로|칼국수|숙취|치매|금연|폭탄을?맞|목이?부었|"
    r"(?:배고파|배불러|더워|추워|웃겨|귀여워|예뻐|이뻐|심심해|지루해|졸려|피곤해|힘들어|아파|매워|바빠|급해"
    r"|답답해|짜증나|궁금해|보고싶어|좋아|싫어|무서워|부러워|창피해|쪽팔려|재밌어|맛있어|목말라|떨려|긴장돼"
    r"|설레|미안해|억울해|화나|더러워|시끄러워|귀찮아|외로워)(?:서)?(?:진짜)?죽(?:겠|을것?같|을뻔|는줄)"
)

# Being left, and nothing else: who says more than that may be in need.
_LEFT = re.compile(
    r"(?:나|저|어제|오늘|방금|결국|또|진짜)*(?:[남여]자?친구?|애인|썸[남녀])(?:한테|에게)또?차였"
    r"(?:어요?|다|음|네요?|습니다|지요?|죠)?[ㄱ-ㅎㅏ-ㅣ]*"
)

# What is talked about here happens in a story, a game or a report.
_FICTION = re.compile(
    r"드라마|영화|웹툰|만화|소설|게임|보스|캐릭터|예능|뉴스|기사|리포트|보고서|과제|숙제|포스터|제정|뮤비|노래 가사"
)

_PERSON = r"(?:사귀는사람|선생님?|친구들이?|애들이?|일진|선임|동생|걔가|새엄마|양아버지|시아버지|시어머니|상사|사장님?|할아버지|보호자|남편|아내|와이프|남자친구|남친|여자친구|여친|애인|엄마|아빠|아버지|어머니|부모|계부|계모|오빠|언니|누나|형|삼촌|선배|동거인|그사람|그놈)"
_SELF = r"(?:내|제|자기)(?:가)?(?:몸|살|팔|손목|손등|허벅지|머리)"

_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (label, re.compile("|".join(parts)))
    for label, parts in (
        (
            "abuse",
            (
                r"(?:강제로|억지로).{0,8}(?:키스|관계|옷|만지|만졌|안으|입을맞|했어|당했)|덮쳤|덮치려|몸을?(?:만지|만졌|만져|더듬)|가슴을?만",
                r"(?:사진|영상|동영상)[을를]?.{0,6}(?:유포|퍼뜨|뿌리|뿌린)|(?:미행|감시)(?:해|하|당)|(?:사람|남자|여자|아저씨|걔|그놈|누가|누군가|전남친|전여친).{0,14}(?:쫓아|따라)(?:와|다녀|다니|온)|(?:모르는|이상한|전남친|전여친|매일|자꾸|계속).{0,12}집앞.{0,8}(?:서있|기다|찾아)",
                r"(?:밥|먹을것?)[을도]?안[주줘]|굶(?:기|겨)(?:요|어|고|는|$)|(?:아이|애|아기)[를가을]?.{0,10}(?:때리|때려|맞는|맞고|방치)",
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
                r"(?:맞고있|얻어맞|두들겨맞|집단폭행|학교폭력|학폭)(?!춰)|(?:때려|때리는|때려서|때릴까).{0,8}(?:무서|도망|숨)|(?:감금|가둬놓|가두고|가뒀|못나가게)",
                r"죽(?:인대|여버린대|이려고|일거래|이겠대|여버릴거래|일까봐)|칼부림|뺨[을]?(?:때렸|때려|맞았)",
                _PERSON
                + r".{0,10}(?:나를|날|저를|절|우리를)?(?:때려|때렸|때리|맞았|두들겨|발로차|발로찼|패요|팼|폭행|허리띠)",
                _PERSON + r".{0,8}목을?(?:조르|조른|졸라|졸랐)",
                _PERSON
                + r"(?:한테|에게).{0,4}(?:배|다리|정강이|허리|등|얼굴|머리|몸)[를을]?(?:발로|걷어)?차[였이]",
                r"(?:칼|흉기|망치)[을를]?들고.{0,8}(?:협박|위협|와|왔|서있|쫓)",
                r"(?:가정|데이트)폭력|매맞는|맞고살|죽여버리겠|죽이겠다[고며는]|죽인다고(?:협박|문자|연락|전화|해)",
                r"(?:협박|위협|폭행|구타)[을를]?(?:당하|당했|당해|받고|받았|하고있|해요|해서무)",
                r"문을?부수(?:려|고들|며)",
            ),
        ),
        (
            "self-harm",
            (
                r"(?:커터)?칼로.{0,6}(?:팔|손목|허벅지|다리|몸|내|나를)|커터칼|긋고싶|그어버리|그으면(?:마음|편|좀|나)|리스트컷|ㅈㅎ(?:하|했|해|흉)",
                r"(?:팔|다리|허벅지|손목|몸)[에]?.{0,6}(?:칼자국|그은|상처(?:를)?(?:내|냈|만들))|(?:내|제)(?:가)?(?:나를|저를|스스로를?|자신을).{0,6}(?:때리|때려|해치|해쳐|다치게)|스스로(?:를)?(?:상처|다치게|해치|때리|벌)",
                r"(?:벽에|바닥에)머리|(?:피|상처)(?:가)?(?:나게|날만큼|날정도로)|살을?(?:뜯|파|꼬집|지지)|다치고싶|아파야(?:마음|편|살)",
                r"자[0-9]?해(?:를|하|했|흉|충|자국|도구|상처|로|한|할|해|중)|자해$",
                r"손목.{0,4}(?:그었|긋고|긋는|긋고십|그을|그어|그은|벤|베고)|(?:또|안|다시|칼로)(?:그었|긋고|그으려?|그을)|그은(?:데|곳|자국|상처)",
                r"상처[를]?내(?:는|고|야|면|ㄴ|$)|피를?(?:봐야|볼때|보고싶|보면(?:살|편|안심|풀)|날때까지)",
                _SELF
                + r".{0,8}(?:할퀴|긁어|긋|그어|지졌|지지|때려|때리|베|물어뜯|박아)|머리를?(?:박아|박고|찧)",
                r"담뱃?불로|나를(?:때리고|벌주고)싶|몸에상처",
            ),
        ),
        (
            "suicide",
            (
                r"죽(?:을까|고만싶|어도(?:되|상관|괜찮|여한)|음(?:을|만|이|뿐)|는(?:상상|생각|게소원|길|수밖)|을방법|으러|을래|을게(?!요?임)|을날)|(?:확|콱|그냥|다같이|혼자)죽(?:어|을|고)",
                r"투신|음독|연탄(?:불|가스)?[을를]?(?:피우|피워|샀|준비)|목숨.{0,4}(?:끊|버리)|스스로목숨|(?:사라져|없어져)버리고싶|없어지고싶",
                r"(?:살가치|살의미|살의지|살힘|살자신|사는의미|사는이유|사는낙|살아갈힘)(?:가|이|도)?없|살아(?:서뭐|봤자|도소용|있는게(?:고통|지옥|괴로|싫|의미))|왜(?:태어났|사는지|살까|살아있)",
                r"(?:더는|더이상은?)(?:못버티|버틸(?:수|힘)|못살|못견디|견딜수)|(?:나|저)(?:하나)?(?:만)?(?:없으면|죽으면|사라지면)|다(?:포기|내려놓)하?고싶|영원히(?:잠들|쉬고|자고)|깨(?:어나)?지(?:않았으면|않으면좋|않고싶)|안깨(?:어나)?(?:면|으면|었으면|났으면)",
                r"(?:장례|영정|유언장|보험금).{0,8}(?:준비|내|나)|(?:모두|다들|엄마|아빠).{0,4}(?:미안|잘)(?:해요?|있어요?).{0,8}(?:먼저갈|갈게|떠날)|먼저(?:떠날|떠나려)|(?:이|이런)(?:삶|인생|생)(?:을)?(?:끝|그만|마감|접)",
                r"(?:죽|뒤지|뒤져|디지|뒈지|듀거|주거|죽어)(?:버리)?[고구](?:만)?[싶십시]",
                r"(?<!혼)자[0-9]*살(?:이|을|하|할|했|생각|충동|시도|방법|해|마렵|$)|ㅈㅅ(?:하|할|마렵|생각|충동|해|ㅎ|$)|(?<!혼)자살",
                r"죽었으면(?:좋|해|싶|한)|죽어버릴|죽어야(?:끝|겠|하|될|되|할|해|돼)|죽으면(?:끝|편|다끝|될|좋|되|아무|그만|고통)|죽는게(?:낫|나을|편|나아)",
                r"죽[을으](?:려고|러갈|래$|생각|결심|준비|용기|거야$|거예요$|날)|죽는(?:방법|법|약)|(?:안아프게|고통없이|편하게|편히|조용히)(?:죽|가는|가고|갈)",
                r"죽겠다(?:고|는|며).{0,6}(?:문자|연락|전화|카톡|말|글|했|해)",
                r"(?:살고|살아가고|살아있고)싶지[가는도]?않|살기[가도는]?(?:싫|시[러름르])|(?:그만|이제그만|더는못|더못)(?:살[래고자까]|살겠|가고싶)",
                r"(?:살|살아야할?|살아갈|살아있을)이유[를가도]?(?:모르|없|못찾)|왜살아야|사는게(?:의미[가도]?없|무의미)|삶을?(?:끝|포기|내려놓)",
                r"유서[를]?(?:썼|써|쓰|남|적)|유언(?:장)?[을]?(?:썼|써|쓰|남)|목숨[을]?(?:끊|버리|던지)|목[을]?(?:매[고달단려]|맬)|생을?마감|극단적(?:인)?(?:생각|선택|시도)",
                r"(?:이)?세상[을]?(?:떠나|뜨고|등지|하직)|(?:이)?세상에(?:서)?(?:없|사라)|하늘나라로?(?:가고|갈래|가려)",
                r"(?:내가|나|저|제가)(?:만|같은건|같은사람은|같은거|하나)?(?:없[으어]|사라[지져])(?:면|지면|져도|어도|지는게|는게|져야).{0,12}(?:편|나을|나아|모를|좋|행복|낫|슬퍼)",
                r"(?:나|저)같은건?.{0,6}(?:없어|사라)|없어지려고|(?:그냥|조용히|영영|영원히|이대로|흔적도없이|다놓고)(?:사라지고|없어지고|사라졌으면|없어졌으면|눈감고)",
                r"태어나(?:지|질)?말|안태어났|(?:신변|주변|유품)(?:을)?정리(?:를)?(?:다|했|하|끝|중)|눈[을]?(?:안뜨|안떴|뜨지않|뜨기싫|감고싶|감았으면)",
                r"뛰어(?:내리고싶|내리려|내릴까|내릴래|내리면(?:끝|될|편|죽|다))|한강.{0,6}(?:뛰어(?:내|들)|빠져|몸을)|(?:옥상|난간|다리위|철로|베란다).{0,10}(?:뛰어(?:내|들)|아래만|서있|올라왔|내려다)",
                r"(?:모아둔|모은|남은|있는)(?:수면)?약|약을?(?:한꺼번에|한번에|통째로|왕창)(?:먹|삼|털)|약을?다털어|번개탄|수면제.{0,4}(?:많이|다|몇알|한통)",
                r"(?:^(?:이제|그냥|진짜|정말|걍|나|난|저|전)*(?:다|모두|전부)|모든걸|인생을?|삶을?)끝내(?:려|고싶|버리|버릴|ㄹ래|는게|야겠|기로)|(?:버티고|까지만).{0,6}(?:끝내|갈게|떠날)",
                r"그동안.{0,12}고마웠.{0,14}(?:안녕|갈게|잘지내|잘있어|마지막)|마지막(?:인사|으로인사|편지)|이제(?:진짜|정말)(?:안녕|마지막이)|나눠줬.{0,14}(?:쓸일이|필요)",
                r"떠나기만하면|숨(?:쉬는것도|쉬기)(?:지|싫)|숨을?(?:그만|멈추고)|(?:내일|다음주|이번주)(?:엔|에는|이면|부턴)?(?:난|나는|저는|전)?(?:이세상|세상)(?:에)?없을",
            ),
        ),
    )
)

# At the start of a word only: 다시 발표해, 택시 발견, 혹시 팔 아파? are everyday talk.
_BANNED = re.compile(
    r"(?<![가-힣])(?:시[\d.]*발(?![점역이표견행전])|시팔(?!월)|씨[\d.]*[발팔](?!표|견)|ㅆㅂ|ㅅㅂ|병신|ㅂㅅ|개새끼|지랄)"
    r"|꺼져라|뒤져라|죽어버려|나가\s?죽어|창녀|걸레년"
)
_DEFLECTION = {
    "polite": "그 말은 제가 하지 않는 게 좋겠어요. 다른 이야기를 해 볼까요?",
    "casual": "그 말은 내가 안 하는 게 좋겠어. 다른 얘기 하자.",
}


def crisis(text: str) -> str | None:
    """Return ``suicide``, ``self-harm``, ``violence`` or ``abuse`` if ``text`` speaks of it, else ``None``.

    The classifier decides; a pattern that matches counts as evidence for danger, a daily idiom alone as
    evidence against it. Where the classifier's file is missing, or a word says too little to judge by,
    the patterns decide.
    """
    pattern = matched_pattern(text)
    classifier = shipped_classifier("crisis")
    plain = squeeze(text)
    if classifier is None or len(plain) <= _TOO_SHORT:
        return pattern
    odds, likeliest = classifier.judge(text)
    if pattern:
        odds += classifier.decision["evidence"]
    elif _HARMLESS.search(plain) or _LEFT.fullmatch(plain):
        odds -= classifier.decision["evidence"]
    return (pattern or likeliest) if odds > classifier.decision["threshold"] else None


def matched_pattern(text: str) -> str | None:
    """Return the label of the first pattern that matches ``text``, if any; not of a film or of homework."""
    if _FICTION.search(text):
        return None
    plain = _HARMLESS.sub("", squeeze(_BUYING_OR_LIVING.sub(" ", text)))
    return next((label for label, pattern in _PATTERNS if pattern.search(plain)), None)


def crisis_reply(label: str, conversation: Conversation, style: Style) -> Reply:
    """Return a reply that takes the crisis seriously and names the Korean help lines.

    Replies are not repeated until all have been said: the same sentence twice sounds like a machine
    that is not listening.
    """
    return _unused(stock_replies("crisis")[label][style], label, conversation)


def about_group(text: str) -> bool:
    """Tell whether ``text`` judges, blames, pities or compares a group of people, as its classifier sees it.

    Never so where the classifier's file is missing, or a word says too little to judge by.
    """
    classifier = shipped_classifier("groups")
    if classifier is None or len(squeeze(text)) <= _TOO_SHORT:
        return False
    return classifier.judge(text)[0] > classifier.decision["threshold"]


def group_reply(conversation: Conversation, style: Style) -> Reply:
    """Return words that take no side where the last turn spoke of a group of people.

    As in :func:`crisis_reply` they are not repeated until all have been said.
    """
    return _unused(replies_to(conversation.turns[-1].text, style, "groups"), GROUP, conversation)


def acceptable(text: str) -> bool:
    """Tell whether a reply may be shown: no slurs, nothing that wishes a person dead."""
    return not _BANNED.search(text)


def deflection(style: Style) -> str:
    """Return what to say in place of a reply that is not :func:`acceptable`."""
    return _DEFLECTION[style]


def _unused(replies: Sequence[str], label: str, conversation: Conversation) -> Reply:
    return Reply(min(replies, key=conversation.used().count), backend=BACKEND, model=label)
