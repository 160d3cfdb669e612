"""The made-up shop of simulated recordings: its shelves, what its customers come for, and its catalogue."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Shelf:
    """One category: its label, what lies on it, prices from `low` to `high` (EUR), and what people search it by."""

    category: str
    label: str
    goods: tuple[str, ...]
    low: int
    high: int
    query: str


@dataclass(frozen=True, slots=True)
class Occasion:
    """A reason to shop: shelves wanted one after another; `onward` is how often the next is wanted after a purchase."""

    name: str
    stages: tuple[str, ...]
    weight: float
    onward: float


# category | label | goods | prices | search words
_SHELVES: Final = """
party_supplies | Party supplies | party hats, paper lanterns, garlands, paper plates | 3-18 | birthday party
ice_cream | Ice cream | vanilla tub, sorbet box, ice cream cake | 4-16 | ice cream
gift_cards | Gift cards | gift card, gift box card | 10-100 | gift card
tents | Tents | dome tent, tunnel tent, family tent | 70-420 | camping tent
sleeping_bags | Sleeping bags | summer sleeping bag, down sleeping bag | 35-210 | sleeping bag
headlamps | Headlamps | headlamp, trail lamp | 15-80 | headlamp
running_shoes | Running shoes | road shoes, trail shoes, racing flats | 60-180 | running shoes
sport_watches | Sport watches | GPS watch, heart rate watch | 90-420 | sport watch
coffee_machines | Coffee machines | espresso machine, filter machine, moka pot | 30-600 | espresso machine
coffee_beans | Coffee beans | arabica beans, house blend, decaf beans | 8-32 | coffee beans
mugs | Mugs | stoneware mug, travel mug, espresso cups | 6-28 | mug
strollers | Strollers | city stroller, twin stroller | 150-700 | stroller
diapers | Diapers | diaper pack, night diapers | 9-40 | diapers
baby_clothes | Baby clothes | romper, baby socks, sleep suit | 5-35 | baby romper
garden_tools | Garden tools | spade, pruning shears, hedge trimmer | 12-140 | pruning shears
seeds | Seeds | tomato seeds, wild flowers, herb set | 2-12 | tomato seeds
planters | Planters | clay planter, balcony box | 8-70 | planter
laptops | Laptops | 13 inch laptop, 15 inch laptop, gaming laptop | 450-2100 | 15 inch laptop
laptop_bags | Laptop bags | laptop sleeve, laptop backpack | 20-120 | laptop sleeve
computer_mice | Computer mice | wireless mouse, vertical mouse | 12-90 | wireless mouse
paint | Paint | wall paint, primer, wood varnish | 12-60 | wall paint
paint_brushes | Paint brushes | brush set, paint roller | 4-25 | paint roller
bicycles | Bicycles | city bike, gravel bike, kids bike | 220-1800 | city bike
bike_helmets | Bike helmets | bike helmet, kids helmet | 30-130 | bike helmet
dog_food | Dog food | dry food, puppy food, dog treats | 7-55 | dog food
books | Books | crime novel, cookbook, travel guide | 6-35 | crime novel
toys | Toys | building bricks, wooden train, puzzle | 8-90 | puzzle
jeans | Jeans | slim jeans, wide jeans | 35-120 | jeans
sneakers | Sneakers | canvas sneakers, leather sneakers | 40-150 | sneakers
perfume | Perfume | eau de parfum, eau de toilette | 25-140 | perfume
headphones | Headphones | earbuds, studio headphones | 25-350 | earbuds
lamps | Lamps | desk lamp, floor lamp, fairy lights | 15-180 | desk lamp
bedding | Bedding | duvet cover, pillow, fitted sheet | 15-110 | duvet cover
sunglasses | Sunglasses | round sunglasses, sport sunglasses | 15-160 | sunglasses
chocolate | Chocolate | dark chocolate, truffles | 3-30 | chocolate
kitchen_knives | Kitchen knives | chef knife, bread knife, knife block | 15-190 | chef knife
"""

OCCASIONS: Final = (
    Occasion("birthday", ("party_supplies", "ice_cream", "gift_cards"), 5.0, 0.8),
    Occasion("camping", ("tents", "sleeping_bags", "headlamps"), 2.5, 0.7),
    Occasion("running", ("running_shoes", "sport_watches"), 2.5, 0.5),
    Occasion("coffee", ("coffee_machines", "coffee_beans", "mugs"), 2.5, 0.7),
    Occasion("baby", ("strollers", "diapers", "baby_clothes"), 2.0, 0.7),
    Occasion("garden", ("garden_tools", "seeds", "planters"), 2.0, 0.65),
    Occasion("work", ("laptops", "laptop_bags", "computer_mice"), 2.0, 0.65),
    Occasion("painting", ("paint", "paint_brushes"), 1.5, 0.75),
    Occasion("cycling", ("bicycles", "bike_helmets"), 1.5, 0.65),
    *(
        Occasion(name, (name,), 0.7, 0.0)
        for name in ("books", "toys", "jeans", "sneakers", "perfume", "headphones", "lamps", "bedding", "sunglasses")
    ),
)
"""What customers come for; occasions of one stage are ordinary wants, which lead nowhere else."""

STAPLES: Final = ("dog_food", "chocolate", "coffee_beans", "diapers", "books")
"""Shelves from which some customers buy again and again, hardly looking."""

PRODUCTS: Final = 12
"""Products on each shelf."""

STYLES: Final = ("Classic", "Nordic", "Mini", "Deluxe", "Retro", "Eco", "Urban", "Alpine", "Royal", "Pastel")
"""First words of product names; with a shelf's goods they make its products."""


def _shelf(line: str) -> Shelf:
    category, label, goods, prices, query = (cell.strip() for cell in line.split("|"))
    low, high = prices.split("-")
    return Shelf(category, label, tuple(good.strip() for good in goods.split(",")), int(low), int(high), query)


SHELVES: Final = {shelf.category: shelf for shelf in map(_shelf, _SHELVES.strip().splitlines())}
"""The shop's shelves by category."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product on a shelf; `price` in EUR."""

    product_id: str
    name: str
    price: float


def product(category: str, number: int) -> Product:
    """Return the shelf's product of that number, always the same one."""
    shelf = SHELVES[category]
    name = f"{STYLES[number % len(STYLES)]} {shelf.goods[number % len(shelf.goods)]}"
    euros = shelf.low + (shelf.high - shelf.low) * (number * 7 % PRODUCTS) // PRODUCTS
    return Product(f"{category}-{number:02d}", name, euros + 0.9)


def _catalogue() -> str:
    intents = [
        f'[intent.{shelf.category}]\nlabel = "{shelf.label}"\n'
        f'category = ["{shelf.category}"]\nquery = ["{shelf.query}"]\n'
        for shelf in SHELVES.values()
    ]
    stages = ", ".join(f'"{stage}"' for stage in OCCASIONS[0].stages)
    return "\n".join([*intents, f"[journey.{OCCASIONS[0].name}]\nstages = [{stages}]\n"])


DEMO_CATALOGUE: Final = _catalogue()
"""The shop's catalogue (TOML): a label for each category, and the birthday journey; the others must be learned."""
