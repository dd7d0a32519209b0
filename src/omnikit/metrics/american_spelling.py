"""British spellings and their American ones, made from stems and the endings that they take.

More pairs come out than are words; those never meet a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

_OUR = """
    arb ard arm behavi belab cand clam clang col demean discol disfav dishon enam endeav fav ferv flav glam harb
    hon hum lab misbehavi misdemean multicol neighb od parl ranc rig rum sav savi splend succ technicol tricol
    tum unfav val vap vig watercol
"""
_OUR_ENDINGS = """
    our ours oured ouring ourable ourably ourful ourfully ourings ouries ourite ourites ouritism ourer ourers
    ourhood ourhoods ourless ourliness ourly oury oural ourist ourists ourist ourant ourants oursome ourise
    ourised ourises ourising
"""
_ISE = """
    accessor acclimat actual aggrand agon amort anglic annual antagon apolog appet atom author autom bapt brutal
    burglar canal cannibal canon bastard capital caramel carbon categor cauter central character circular civil
    collectiv colon commercial compartmental computer conceptual contextual criminal critic crystall custom
    decentral decolon decriminal dehuman demilitar demobil democrat demon demoral denational deodor depersonal
    deput desensit destabil digit disorgan dramat econom editorial empath emphas energ epitom equal etern eulog
    evangel exorc extempor external factor familiar fantas femin fertil fictional final formal fossil fratern
    galvan general glamor ghetto global harmon histor homogen hospital human hybrid hypnot hypothes ideal idol
    immobil immortal immun improv individual industrial initial institutional intellectual internal
    international ion item italic jeopard legal legitim liberal lion liquid local magnet marginal material maxim
    mechan memor memorial merchand mesmer method militar miniatur minim mobil modern moistur monopol moral motor
    national natural neutral normal optim organ ostrac overemphas oxid parameter passiv pasteur patron penal
    personal philosoph plagiar polar politic popular pressur priorit privat professional propagand proselyt
    public pulver quant radical random rational real recogn regular reorgan revital revolution romantic rubber
    sanit satir scandal scrutin secular sensational sensit sentimental serial sermon sexual signal social solemn
    special stabil standard steril stigmat subsid summar symbol sympath synchron synthes systemat tantal
    temporal terror theor total traumat trivial tyrann union unreal urban util vandal vapor verbal victim visual
    vital vocal vulgar weapon western woman
"""
_ISE_ENDINGS = "ise ised ises ising iser isers isation isations isational isable isably isingly isement"
_YSE = "anal catal paral electrol psychoanal breathal hydrol dial"
_DOUBLED = """
    apparel backpedal barrel bedevil bejewel bevel bushel cancel carol cavil channel chisel counsel cruel cudgel
    dial dishevel disembowel drivel duel empanel enamel equal fuel funnel gambol gravel grovel gruel hovel
    initial jewel kennel label laurel level libel marshal marvel medal model panel parcel pedal pencil peril
    quarrel ravel refuel relabel remodel revel rival shovel shrivel signal snivel snorkel spiral squirrel
    stencil swivel tassel tinsel total towel trammel travel trial tunnel unequal unravel unrival untrammel
    weasel yodel
"""
_DOUBLED_ENDINGS = "ed ing er ers ings est ist ists ous ously ery"
_RE = (
    "amphitheat calib cent epicent fib goit lacklust lit lust meag mit och sab saltpet scept sepulch somb spect theat "
)
_METRES = "met millimet centimet kilomet decimet nanomet micromet millilit centilit decilit kilolit"
_WORDS = """
    aeon eon aeons eons aeroplane airplane aeroplanes airplanes aesthete esthete aesthetes esthetes aesthetic
    esthetic aesthetics esthetics aesthetically esthetically ageing aging aluminium aluminum amoeba ameba
    amoebae amebae amoebas amebas anaemia anemia anaemic anemic anaesthesia anesthesia anaesthetic anesthetic
    anaesthetics anesthetics anaesthetist anesthetist anaesthetists anesthetists analogue analog analogues
    analogs archaeologist archeologist archaeologists archeologists archaeology archeology archaeological
    archeological artefact artifact artefacts artifacts axe ax catalogue catalog catalogued cataloged catalogues
    catalogs cataloguing cataloging cheque check cheques checks chequer checker chequered checkered cosy cozy
    cosier cozier cosiest coziest cosily cozily cosiness coziness defence defense defences defenses defenceless
    defenseless dialogue dialog dialogues dialogs diarrhoea diarrhea disc disk discs disks draught draft
    draughts drafts draughty drafty draughtsman draftsman draughtsmen draftsmen dyke dike dykes dikes
    encyclopaedia encyclopedia encyclopaedias encyclopedias encyclopaedic encyclopedic faeces feces faecal fecal
    foetus fetus foetuses fetuses foetal fetal furore furor gaol jail gaols jails gaoled jailed gaoler jailer
    grey gray greyed grayed greyer grayer greyest grayest greying graying greyish grayish greyness grayness
    greys grays gynaecologist gynecologist gynaecologists gynecologists gynaecology gynecology gynaecological
    gynecological haemoglobin hemoglobin haemophilia hemophilia haemophiliac hemophiliac haemorrhage hemorrhage
    haemorrhaged hemorrhaged haemorrhages hemorrhages haemorrhaging hemorrhaging haemorrhoids hemorrhoids
    instalment installment instalments installments instil instill instils instills judgement judgment
    judgements judgments kerb curb kerbs curbs kerbside curbside leukaemia leukemia licence license licences
    licenses licenced licensed manoeuvre maneuver manoeuvred maneuvered manoeuvres maneuvers manoeuvring
    maneuvering manoeuvrable maneuverable manoeuvrability maneuverability mediaeval medieval mould mold moulds
    molds moulded molded moulding molding mouldy moldy moult molt moulted molted moulting molting moults molts
    moustache mustache moustaches mustaches moustached mustached oesophagus esophagus oestrogen estrogen offence
    offense offences offenses omelette omelet omelettes omelets orthopaedic orthopedic orthopaedics orthopedics
    paediatric pediatric paediatrics pediatrics paediatrician pediatrician paediatricians pediatricians
    paedophile pedophile paedophiles pedophiles paedophilia pedophilia plough plow ploughed plowed ploughing
    plowing ploughs plows ploughman plowman ploughmen plowmen practise practice practised practiced practises
    practices practising practicing pretence pretense pretences pretenses primaeval primeval programme program
    programmes programs prologue prolog prologues prologs pyjama pajama pyjamas pajamas reconnoitre reconnoiter
    sceptic skeptic sceptics skeptics sceptical skeptical sceptically skeptically scepticism skepticism skilful
    skillful skilfully skillfully smoulder smolder smouldered smoldered smouldering smoldering smoulders
    smolders speciality specialty specialities specialties storey story storeys stories sulphur sulfur sulphate
    sulfate sulphates sulfates sulphide sulfide sulphuric sulfuric sulphurous sulfurous syphon siphon toxaemia
    toxemia tyre tire tyres tires wilful willful wilfully willfully woollen woolen woollens woolens woolly wooly
    waggon wagon waggons wagons yoghurt yogurt yoghurts yogurts yoghourt yogurt enrol enroll enrols enrolls
    enrolment enrollment enrolments enrollments fulfil fulfill fulfils fulfills fulfilment fulfillment enthral
    enthrall enthrals enthralls distil distill distils distills appal appall appals appalls counsellor counselor
    counsellors counselors jeweller jeweler jewellers jewelers jewellery jewelry marvellous marvelous
    marvellously marvelously chilli chili moulder molder tranquillity tranquility libellous libelous monologue
    monolog monologues monologs pedlar peddler pedlars peddlers gramme gram grammes grams kilogramme kilogram
    kilogrammes kilograms travelogue travelog travelogues travelogs epilogue epilog epilogues epilogs homologue
    homolog homologues homologs demagogue demagog demagogues demagogs pedagogue pedagog pedagogues pedagogs
    synagogue synagog synagogues synagogs cypher cipher cyphers ciphers acknowledgement acknowledgment
    acknowledgements acknowledgments caesarean cesarean caesareans cesareans caesium cesium callisthenics
    calisthenics carburettor carburetor carburettors carburetors behove behoove behoves behooves behoved
    behooved bogeyman boogeyman coeliac celiac homoeopath homeopath homoeopathic homeopathic homoeopathy
    homeopathy maths math mum mom mums moms naivety naivete palaeontology paleontology palaeontologist
    paleontologist pzazz pizzazz snowplough snowplow titbit tidbit titbits tidbits whisky whiskey whiskies
    whiskeys aneurism aneurysm anaesthetise anesthetize anaesthetised anesthetized anaesthetises anesthetizes
    anaesthetising anesthetizing tranquillise tranquilize tranquillised tranquilized tranquilliser tranquilizer
    tranquillisers tranquilizers tranquillises tranquilizes tranquillising tranquilizing councillor councilor
    councillors councilors fibreglass fiberglass tonne ton tonnes tons aetiology etiology oedema edema foetid
    fetid gonorrhoea gonorrhea haematology hematology haematologist hematologist palaeolithic paleolithic
    gryphon griffin gryphons griffins chequebook checkbook chequebooks checkbooks centrepiece centerpiece
    centrepieces centerpieces phoney phony sheikh sheik busses buses
"""


@cache
def american_spellings() -> Mapping[str, str]:
    """American spelling of British words, in lower case; words that both spell alike are not in it."""
    found: dict[str, str] = {}
    for stem in _OUR.split():
        for ending in _OUR_ENDINGS.split():
            found[stem + ending] = stem + ending.replace("our", "or", 1).replace("orise", "orize").replace(
                "orising", "orizing"
            )
    for stem in _ISE.split():
        found |= {stem + ending: stem + "iz" + ending[2:] for ending in _ISE_ENDINGS.split()}
    for stem in _YSE.split():
        found |= {f"{stem}ys{ending}": f"{stem}yz{ending}" for ending in ("e", "ed", "es", "ing", "er", "ers")}
    for stem in _DOUBLED.split():
        found |= {f"{stem}l{ending}": stem + ending for ending in _DOUBLED_ENDINGS.split()}
    for stem in (_RE + _METRES).split():
        found |= {f"{stem}re": f"{stem}er", f"{stem}res": f"{stem}ers", f"{stem}red": f"{stem}ered"}
    words = _WORDS.split()
    found |= dict(zip(words[::2], words[1::2], strict=True))
    return {british: american for british, american in found.items() if british != american}
