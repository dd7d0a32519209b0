"""The vocabulary of the general sentences, slot by slot."""

from __future__ import annotations

import itertools


def _words(block: str) -> tuple[str, ...]:
    return tuple(block.split())


def _phrases(block: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in block.replace("\n", " ").split(",") if phrase.strip())


NAMES = _words(
    """anna george maria thomas julia henry alice victor emma oscar sophie walter laura hugo nora felix clara edward
    ruby martin diana philip grace joseph hazel arthur ivy samuel joyce peter zoe roger faith leo judith calvin rosa
    ethan vera jacob wendy frank yvonne douglas olivia chris theo rachel boyd jean"""
)
PEOPLE = _words(
    """teacher doctor farmer driver nurse baker painter lawyer sailor writer neighbor cousin brother sister uncle aunt
    mother father daughter son student soldier singer dancer judge waiter tailor plumber dentist pilot manager butcher
    engineer artist guard king queen prince thief child girl boy stranger friend guest captain chef scholar youth"""
)
PLACES = _words(
    """kitchen garden harbor station school library church market bridge forest river mountain village museum theater
    office factory hospital airport beach island castle tower valley desert farm bakery garage attic cellar park
    playground street corner square lake hotel tunnel court yard stadium prison pharmacy meadow cave zoo"""
)
OBJECTS = _words(
    """table chair window door bottle basket hammer ladder mirror pencil notebook letter camera clock lamp carpet
    pillow blanket bucket candle spoon fork knife plate cup bowl kettle engine wheel bicycle truck boat ship train
    piano guitar violin drum trumpet radio telephone computer keyboard battery ticket wallet suitcase umbrella ring
    necklace key lock rope chain nail shovel broom toothbrush towel soap needle thread button ribbon curtain cushion
    vase statue picture poster map flag coin stamp envelope package treasure jewel box bag jar tray oven machine
    rocket robot toy puzzle kite balloon ball bat net book newspaper magazine pipe measure mug hose cage"""
)
FOODS = _words(
    """bread butter cheese rice soup salad pasta chicken beef fish honey sugar salt pepper garlic onion potato tomato
    carrot cabbage spinach mushroom apple banana orange lemon cherry peach grape melon coconut chocolate vanilla
    pudding pancake yogurt cream milk coffee tea juice ginger mustard oil noodles sausage jam cereal porridge"""
)
ANIMALS = _words(
    """dog cat horse cow pig goat rabbit squirrel fox bear lion tiger monkey elephant giraffe zebra camel turtle frog
    snake lizard eagle owl parrot pigeon chicken duck swan dolphin whale shark spider beetle butterfly bee ant donkey
    kangaroo panda hedgehog mole otter raven hawk moth"""
)
CLOTHES = _words(
    """coat shirt jacket sweater scarf hat cap glove boot shoe sock belt dress skirt blouse vest tie apron uniform
    sandal collar sleeve pocket raincoat trousers"""
)
ADJECTIVES = _words(
    """old new young tall short long wide narrow heavy light dark bright clean dirty quiet loud smooth rough sharp
    round empty full broken wooden golden silver purple brown gray pink warm cold cool fresh dry wet soft hard strong
    weak rich poor cheap expensive strange famous gentle rude clever foolish brave lazy busy careful careless honest
    ugly beautiful pretty lovely awful terrible wonderful perfect simple difficult huge tiny thick thin deep shallow
    rusty dusty shiny fragile ancient modern royal secret hidden curious peculiar precious usual casual"""
)
ADVERBS = _words(
    """slowly quickly quietly loudly gently carefully carelessly happily sadly angrily easily suddenly secretly
    proudly bravely politely rudely often never always sometimes rarely usually finally almost really badly well
    together alone again twice once everywhere nowhere outside inside upstairs downstairs forward backward"""
)
VERBS = _words(
    """found lost bought sold carried dropped pushed pulled lifted opened closed painted repaired broke cleaned washed
    moved hid borrowed returned threw caught watched touched kicked wanted needed loved hated chose measured counted
    described remembered forgot noticed ignored admired wrapped covered shook burned saved stole sent received showed
    offered tested used kept held joined finished started changed checked followed guarded polished treasured enjoyed
    destroyed judged owned shared"""
)
TIMES = _phrases(
    """yesterday, today, tomorrow, on monday, on tuesday, on wednesday, on thursday, on friday, on saturday, on sunday,
    in january, in february, in march, in april, in may, in june, in july, in august, in september, in october,
    in november, in december, this morning, this afternoon, this evening, at night, at noon, at midnight, last week,
    next year, an hour ago, in spring, in summer, in autumn, in winter, before breakfast, after dinner, at five o'clock,
    every month, during lunch"""
)
NUMBERS = _phrases(
    """two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, fifteen, sixteen,
    seventeen, eighteen, nineteen, twenty, thirty, forty, fifty, sixty, seventy, eighty, ninety, a hundred, twenty one,
    thirty five, forty eight, sixty six, ninety nine, several, a thousand"""
)
FEELINGS = _words(
    """tired hungry thirsty sleepy nervous excited worried jealous proud ashamed bored surprised confused cheerful calm
    lonely grateful frightened annoyed hopeful furious anxious relaxed joyful miserable"""
)
WEATHER = _words("sunny rainy cloudy windy foggy snowy stormy icy humid chilly mild freezing misty hot")
SOUNDS = _words(
    """noise voice whisper shout laugh cough song bell whistle crash thud squeak buzz growl roar hiss splash sigh yawn
    rustle boom click"""
)
_MORE = _words(
    """the and but because although while through without above below behind under over across around along toward
    against could would might must shall does have been them their those these which where whether either neither
    something nothing everyone anybody breathe think thing thank path mouth teeth earth north south east west width
    strength length health wealth vision decision pleasure leisure usually garage beige division explosion azure
    choice join point noise annoy employ voyage oyster boil spoil towel shower flower power hour our sour fire tire
    wire higher liar quiet poem cruel fluid area idea real theater museum poor tour sure cure pure fury jury year
    beer fear clear cheer spear hair care share square prayer where orange forest sorry tomorrow water better city
    pretty letter butter matter bottom cotton mountain fountain kitten sudden garden middle little bottle apple table
    pull push full wool wood good foot cook sugar woman wolf book huge cute few view music human beauty argue value
    zero zone lazy crazy prize size freeze breeze judge bridge edge age giant gym jungle jump shoe shop shell wash
    wish ocean motion special machine yes yellow young onion million use yet beyond whip wheel white once quick queen
    language penguin anchor finger singer hunger tongue young length king song strong wrong spring string street
    stretch splash spray scratch scream square twelve twenty glimpse texts tests asks wasps prompts months depths"""
)
VOCABULARY: tuple[str, ...] = tuple(
    sorted(
        {
            word
            for group in itertools.chain(
                (NAMES, PEOPLE, PLACES, OBJECTS, FOODS, ANIMALS, CLOTHES, ADJECTIVES, ADVERBS, VERBS),
                (TIMES, NUMBERS, FEELINGS, WEATHER, SOUNDS, _MORE),
            )
            for phrase in group
            for word in phrase.split()
            if len(word) > 1
        }
    )
)
"""Every word of every slot and more, each once, sorted: what the random word strings draw from."""
