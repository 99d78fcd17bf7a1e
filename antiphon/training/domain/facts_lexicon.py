"""Facts of the full domain that the small one lacks: countries, colours, sounds, pairs of words.

Data only; English first, Mandarin second where both stand.
"""

from antiphon.training import lexicon

CAPITALS: tuple[tuple[str, str], ...] = (
    *lexicon.CAPITALS,
    ("Switzerland", "Bern"), ("Croatia", "Zagreb"), ("Serbia", "Belgrade"),
    ("Romania", "Bucharest"),
    ("Bulgaria", "Sofia"), ("Estonia", "Tallinn"), ("Latvia", "Riga"), ("Colombia", "Bogota"),
    ("Venezuela", "Caracas"), ("Ecuador", "Quito"), ("Jamaica", "Kingston"), ("Morocco", "Rabat"),
    ("Ghana", "Accra"), ("Ethiopia", "Addis Ababa"), ("Indonesia", "Jakarta"),
    ("Malaysia", "Kuala Lumpur"), ("Singapore", "Singapore"), ("Pakistan", "Islamabad"),
    ("Lebanon", "Beirut"), ("New Zealand", "Wellington"),
)  # fmt: skip

COLOURS: tuple[tuple[str, str], ...] = (
    ("a banana", "yellow"), ("grass", "green"), ("the sky", "blue"), ("snow", "white"),
    ("coal", "black"), ("a tomato", "red"), ("a carrot", "orange"), ("chocolate", "brown"),
    ("a lemon", "yellow"), ("milk", "white"), ("a frog", "green"), ("an elephant", "gray"),
    ("a strawberry", "red"), ("the ocean", "blue"), ("a flamingo", "pink"), ("a crow", "black"),
    ("the sun", "yellow"), ("a leaf", "green"), ("a cherry", "red"), ("a pumpkin", "orange"),
    ("salt", "white"), ("a mouse", "gray"), ("a violet", "purple"), ("an eggplant", "purple"),
    ("a fire engine", "red"), ("a cucumber", "green"), ("a pig", "pink"), ("a bear", "brown"),
)  # fmt: skip

SOUNDS: tuple[tuple[str, str], ...] = (
    ("a cat", "meow"), ("a dog", "woof"), ("a cow", "moo"), ("a duck", "quack"),
    ("a sheep", "baa"), ("a pig", "oink"), ("a frog", "ribbit"), ("a bee", "buzz"),
    ("a rooster", "cock a doodle do"), ("a snake", "hiss"), ("an owl", "hoot"),
    ("a horse", "neigh"), ("a mouse", "squeak"), ("a lion", "roar"), ("a bird", "tweet"),
    ("a wolf", "howl"), ("a crow", "caw"), ("a donkey", "hee haw"),
)  # fmt: skip

# Asked for both ways: the English word in English, the Chinese one in Mandarin.
TRANSLATIONS: tuple[tuple[str, str], ...] = (
    ("apple", "苹果"), ("banana", "香蕉"), ("grape", "葡萄"), ("lemon", "柠檬"), ("orange", "橙子"),
    ("potato", "土豆"), ("tomato", "西红柿"), ("rice", "米饭"), ("bread", "面包"), ("milk", "牛奶"),
    ("coffee", "咖啡"), ("tea", "茶"), ("water", "水"), ("sugar", "糖"), ("salt", "盐"),
    ("egg", "鸡蛋"), ("cheese", "奶酪"), ("soup", "汤"), ("cake", "蛋糕"), ("fruit", "水果"),
    ("cat", "猫"), ("dog", "狗"), ("bird", "鸟"), ("fish", "鱼"), ("horse", "马"), ("sheep", "羊"),
    ("tiger", "老虎"), ("lion", "狮子"), ("elephant", "大象"), ("monkey", "猴子"),
    ("rabbit", "兔子"), ("snake", "蛇"), ("mouse", "老鼠"), ("bear", "熊"), ("wolf", "狼"),
    ("fox", "狐狸"), ("duck", "鸭子"), ("frog", "青蛙"), ("spider", "蜘蛛"), ("dragon", "龙"),
    ("father", "爸爸"), ("mother", "妈妈"), ("brother", "兄弟"), ("sister", "姐妹"),
    ("friend", "朋友"), ("teacher", "老师"), ("doctor", "医生"), ("student", "学生"),
    ("child", "孩子"), ("king", "国王"), ("queen", "女王"), ("house", "房子"), ("door", "门"),
    ("window", "窗户"), ("table", "桌子"), ("chair", "椅子"), ("bed", "床"), ("lamp", "灯"),
    ("mirror", "镜子"), ("clock", "时钟"), ("kitchen", "厨房"), ("garden", "花园"),
    ("school", "学校"), ("hospital", "医院"), ("hotel", "酒店"), ("station", "车站"),
    ("airport", "机场"), ("bridge", "桥"), ("street", "街道"), ("city", "城市"),
    ("village", "村庄"), ("country", "国家"), ("car", "汽车"), ("bus", "公共汽车"),
    ("train", "火车"), ("plane", "飞机"), ("bicycle", "自行车"), ("boat", "小船"),
    ("sun", "太阳"), ("moon", "月亮"), ("star", "星星"), ("sky", "天空"), ("cloud", "云"),
    ("rain", "雨"), ("snow", "雪"), ("wind", "风"), ("fire", "火"), ("earth", "地球"),
    ("mountain", "山"), ("river", "河"), ("lake", "湖"), ("forest", "森林"), ("island", "岛"),
    ("flower", "花"), ("tree", "树"), ("grass", "草"), ("leaf", "叶子"), ("stone", "石头"),
    ("book", "书"), ("paper", "纸"), ("pencil", "铅笔"), ("letter", "信"), ("music", "音乐"),
    ("song", "歌"), ("piano", "钢琴"), ("guitar", "吉他"), ("phone", "电话"), ("computer", "电脑"),
    ("money", "钱"), ("shirt", "衬衫"), ("shoe", "鞋子"), ("hat", "帽子"), ("umbrella", "雨伞"),
    ("hand", "手"), ("eye", "眼睛"), ("ear", "耳朵"), ("nose", "鼻子"), ("heart", "心"),
)  # fmt: skip

SPELLABLE: tuple[str, ...] = tuple(
    word for word in lexicon.REPEAT_WORDS if len(word) <= 6
)  # longer ones take more seconds than a small model keeps in step

# What the CMU pronouncing dictionary lacks, beside lexicon.PRONUNCIATIONS.
PRONUNCIATIONS = {"tallinn": "T AE L IH N", "oink": "OY NG K", "rabat": "R AH B AA T"}
