"""Word lists of the embedded model's domain. Data only; the grammar builds exchanges from it."""

UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
TENS = (
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip
DAYS = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
)  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip

OPPOSITES: tuple[tuple[str, str], ...] = (
    ("hot", "cold"), ("big", "small"), ("tall", "short"), ("fast", "slow"), ("happy", "sad"),
    ("light", "dark"), ("old", "young"), ("good", "bad"), ("early", "late"), ("open", "closed"),
    ("up", "down"), ("left", "right"), ("hard", "soft"), ("wet", "dry"), ("full", "empty"),
    ("rich", "poor"), ("loud", "quiet"), ("clean", "dirty"), ("strong", "weak"),
    ("asleep", "awake"), ("high", "low"), ("near", "far"), ("thick", "thin"), ("wide", "narrow"),
    ("deep", "shallow"), ("sharp", "blunt"), ("day", "night"), ("winter", "summer"),
    ("north", "south"), ("east", "west"), ("first", "last"), ("true", "false"), ("win", "lose"),
    ("buy", "sell"), ("push", "pull"), ("begin", "end"), ("love", "hate"), ("black", "white"),
    ("brave", "afraid"), ("smooth", "rough"),
)  # fmt: skip

CAPITALS: tuple[tuple[str, str], ...] = (
    ("France", "Paris"), ("Germany", "Berlin"), ("Italy", "Rome"), ("Spain", "Madrid"),
    ("Portugal", "Lisbon"), ("Greece", "Athens"), ("Austria", "Vienna"), ("Poland", "Warsaw"),
    ("Russia", "Moscow"), ("China", "Beijing"), ("Japan", "Tokyo"), ("Egypt", "Cairo"),
    ("Ireland", "Dublin"), ("England", "London"), ("Scotland", "Edinburgh"), ("Norway", "Oslo"),
    ("Sweden", "Stockholm"), ("Denmark", "Copenhagen"), ("Finland", "Helsinki"),
    ("Iceland", "Reykjavik"), ("Belgium", "Brussels"), ("Hungary", "Budapest"),
    ("Turkey", "Ankara"), ("Kenya", "Nairobi"), ("Canada", "Ottawa"), ("Cuba", "Havana"),
    ("Peru", "Lima"), ("Chile", "Santiago"), ("Brazil", "Brasilia"), ("Australia", "Canberra"),
    ("India", "New Delhi"), ("Thailand", "Bangkok"), ("Vietnam", "Hanoi"), ("Iran", "Tehran"),
    ("Iraq", "Baghdad"), ("Israel", "Jerusalem"), ("Ukraine", "Kyiv"), ("Mexico", "Mexico City"),
    ("Argentina", "Buenos Aires"), ("Nepal", "Kathmandu"),
)  # fmt: skip

ABILITIES = "I can add, count, repeat words, and name days, months, opposites and capitals."
# (spoken to the model, its answer); several ways to say the same thing share an answer.
GREETINGS: tuple[tuple[str, str], ...] = (
    ("hello", "Hello, how can I help you?"), ("hi there", "Hello, how can I help you?"),
    ("hello, can you hear me", "Yes, I can hear you well."),
    ("good morning", "Good morning to you."), ("good afternoon", "Good afternoon to you."),
    ("good evening", "Good evening to you."), ("good night", "Good night, sleep well."),
    ("how are you", "I am very well, thank you."),
    ("how are you today", "I am very well, thank you."),
    ("who are you", "I am Antiphon, a small voice assistant."),
    ("tell me who you are", "I am Antiphon, a small voice assistant."),
    ("what is your name", "My name is Antiphon."),
    ("what are you called", "My name is Antiphon."),
    ("what can you do", ABILITIES),
    ("how can you help me", ABILITIES),
    ("thank you", "You are welcome."), ("thank you very much", "You are welcome."),
    ("goodbye", "Goodbye, talk to you soon."), ("see you later", "Goodbye, talk to you soon."),
    ("nice to meet you", "Nice to meet you too."),
)  # fmt: skip

REPEAT_WORDS = (
    "apple", "arrow", "autumn", "baby", "ball", "banana", "basket", "beach", "bear", "bed",
    "bell", "bird", "blue", "boat", "book", "bottle", "box", "boy", "bread", "bridge", "brother",
    "brown", "bus", "butter", "button", "cake", "camera", "candle", "car", "carpet", "castle",
    "cat", "chair", "cheese", "cherry", "child", "church", "circle", "city", "clock", "cloud",
    "coat", "coffee", "color", "cookie", "copper", "corn", "country", "cow", "cup", "dance",
    "desert", "dinner", "doctor", "dog", "dollar", "door", "dragon", "dream", "dress", "duck",
    "eagle", "ear", "earth", "egg", "elephant", "engine", "evening", "eye", "family", "farm",
    "father", "feather", "field", "finger", "fire", "fish", "flag", "floor", "flower", "forest",
    "fork", "fox", "friend", "frog", "fruit", "garden", "ghost", "giraffe", "girl", "glass",
    "glove", "gold", "grandmother", "grape", "grass", "green", "guitar", "hammer", "hand",
    "harbor", "hat", "heart", "hill", "honey", "horse", "hotel", "house", "island", "jacket",
    "jungle", "kettle", "key", "king", "kitchen", "kite", "lake", "lamp", "lazy", "leaf", "lemon",
    "letter", "lion", "little", "lunch", "magic", "map", "market", "meadow", "milk", "mirror",
    "money", "monkey", "moon", "morning", "mother", "mountain", "mouse", "music", "needle",
    "nest", "nose", "ocean", "office", "onion", "orange", "paper", "park", "pencil", "people",
    "pepper", "piano", "picture", "pillow", "pink", "pizza", "planet", "plate", "pocket",
    "potato", "prince", "purple", "queen", "rabbit", "radio", "rain", "rainbow", "red", "rice",
    "river", "road", "robot", "rocket", "roof", "room", "rose", "salad", "salt", "sand", "school",
    "sea", "shadow", "sheep", "ship", "shirt", "shoe", "silver", "sister", "sky", "sleep",
    "snake", "snow", "soap", "song", "soup", "spider", "spoon", "spring", "square", "stable",
    "star", "station", "stone", "story", "street", "sugar", "sun", "swim", "table", "tea",
    "teacher", "tiger", "tomato", "tower", "train", "tree", "turtle", "umbrella", "uncle",
    "valley", "village", "violin", "wagon", "walk", "wall", "water", "whale", "wheel", "wild",
    "wind", "window", "winter", "wizard", "wolf", "woman", "wonder", "wood", "yellow", "zebra",
)  # fmt: skip

# What the CMU pronouncing dictionary lacks.
PRONUNCIATIONS = {"kathmandu": "K AA T M AA N D UW", "kyiv": "K IY IH V"}
