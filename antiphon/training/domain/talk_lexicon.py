"""What the full domain's small talk, refusals and recitals say. Data only.

Wordings that ask for the same answer stand together. The English pieces and the Mandarin story were
written for this project; the Mandarin poems are by Li Bai and Meng Haoran (8th century), the
Mandarin tongue-twister is traditional.
"""

# What is asked, in several wordings, and the answer.
Talk = tuple[tuple[tuple[str, ...], str], ...]

ABILITIES = {
    "en": "I can add, count, spell, translate, repeat, and tell a story.",
    "zh": "我会算数，数数，翻译，跟你说话，还会念诗。",
}
REFUSALS = {
    "en": "Sorry, I did not understand that. I can add, count, spell, translate, and tell a story.",
    "zh": "对不起，我没听懂。我会算数，数数，翻译，还会念诗。",
}

TALK: dict[str, Talk] = {
    "en": (
        (("hello", "hi there", "hi", "hello there", "hey, hello", "hello, antiphon", "hey there",
          "hey", "hello hello", "hi, antiphon", "hey, antiphon", "well, hello", "hello again",
          "hi, hello there", "oh, hello"),
         "Hello, how can I help you?"),
        (("hello, can you hear me", "can you hear me", "do you hear me", "are you there",
          "are you still there", "hello, are you there", "is anybody there",
          "hey, can you hear me", "do you hear me well", "can you hear my voice",
          "are you listening", "are you listening to me"),
         "Yes, I can hear you well."),
        (("good morning", "a very good morning", "good morning, antiphon", "good morning to you",
          "hello, good morning", "hi, good morning", "morning", "a good morning to you"),
         "Good morning to you."),
        (("good afternoon", "a very good afternoon", "good afternoon to you",
          "good afternoon, antiphon", "hello, good afternoon", "hi, good afternoon",
          "a good afternoon to you"),
         "Good afternoon to you."),
        (("good evening", "a very good evening", "good evening to you", "good evening, antiphon",
          "hello, good evening", "hi, good evening",
          "a good evening to you"), "Good evening to you."),
        (("good night", "good night, antiphon", "sleep well", "have a good night",
          "good night to you", "a very good night", "good night and sleep well",
          "I am going to bed", "sleep well, antiphon"),
         "Good night, sleep well."),
        (("how are you", "how are you today", "how do you do", "are you well", "how do you feel",
          "how are you feeling", "how are you doing", "how is it going", "how are things",
          "are you doing well", "hello, how are you", "hi, how are you doing",
          "how do you feel today"),
         "I am very well, thank you."),
        (("who are you", "tell me who you are", "what are you", "please introduce yourself",
          "introduce yourself", "who am I talking to", "who is there", "what exactly are you",
          "hello, who are you", "and who are you", "please tell me who you are",
          "can you introduce yourself"),
         "I am Antiphon, a small voice assistant."),
        (("what is your name", "what are you called", "tell me your name", "do you have a name",
          "may I know your name", "can you tell me your name",
          "please tell me your name", "what do people call you", "what should I call you",
          "and what is your name", "how should I call you", "hello, what is your name",
          "may I ask your name"), "My name is Antiphon."),
        (("what can you do", "how can you help me", "what do you know", "tell me what you can do",
          "help", "what are you able to do", "what else can you do", "please help me",
          "what can I ask you", "can you help me", "show me what you can do",
          "and what can you do", "what can you do for me"), ABILITIES["en"]),
        (("thank you", "thank you very much", "thanks", "thanks a lot", "many thanks",
          "thank you so much", "thanks so much", "thanks, antiphon", "thank you, antiphon",
          "I thank you", "great, thank you", "many many thanks", "thanks very much",
          "okay, thanks"),
         "You are welcome."),
        (("goodbye", "see you later", "bye bye", "bye", "see you tomorrow", "until next time",
          "good bye", "goodbye, antiphon", "see you", "see you soon", "bye, antiphon",
          "talk to you later", "see you next time", "okay, goodbye", "I have to go now",
          "until tomorrow"),
         "Goodbye, talk to you soon."),
        (("nice to meet you", "it is nice to meet you", "pleased to meet you",
          "very nice to meet you", "so nice to meet you", "I am pleased to meet you",
          "glad to meet you", "I am glad to meet you", "hello, nice to meet you",
          "very pleased to meet you"),
         "Nice to meet you too."),
    ),
    "zh": (
        (("你好", "您好", "嗨，你好", "你好啊", "你好你好", "嗨", "哈喽", "喂，你好",
          "你好，小安", "嗨，小安", "小安，你好", "你们好",
          "大家好"), "你好，有什么可以帮你？"),
        (("你听得见吗", "能听见我说话吗", "你在听吗", "喂，听得到吗", "听得见吗", "你能听到吗",
          "能听到我吗", "你听到了吗", "喂，你在吗",
          "你在吗", "你还在吗", "听得到我说话吗"), "听得见，请说。"),
        (("早上好", "早安", "早上好啊", "你早", "早", "早啊", "小安，早上好", "你早上好",
          "早上好，小安", "大家早上好"), "早上好。"),
        (("下午好", "下午好啊", "你下午好", "小安，下午好", "下午好，小安",
          "大家下午好"), "下午好。"),
        (("晚上好", "晚上好啊", "你晚上好", "小安，晚上好", "晚上好，小安",
          "大家晚上好"), "晚上好。"),
        (("晚安", "晚安，好梦", "我要睡觉了", "祝你晚安", "小安，晚安", "晚安，小安",
          "我去睡觉了", "我要睡了", "好梦",
          "祝你好梦"), "晚安，做个好梦。"),
        (("你好吗", "你怎么样", "最近好吗", "你今天好吗", "你还好吗", "你最近怎么样",
          "你今天怎么样", "近来好吗", "过得好吗", "你好不好",
          "你最近好吗"), "我很好，谢谢你。"),
        (("你是谁", "请介绍一下自己", "你是什么人", "告诉我你是谁", "介绍一下自己",
          "请做个自我介绍", "你到底是谁", "请问你是谁", "你是什么",
          "说说你是谁", "介绍一下你自己"), "我是一个小小的语音助手。"),
        (("你叫什么名字", "你叫什么", "怎么称呼你", "你的名字是什么", "告诉我你的名字",
          "请问你叫什么名字", "你有名字吗", "请问怎么称呼",
          "我该怎么叫你", "你的名字叫什么", "请告诉我你的名字", "请问你叫什么"),
         "我的名字叫小安。"),
        (("你会什么", "你能做什么", "你能帮我做什么", "你有什么本事", "你会做什么",
          "你都会什么", "你能干什么", "你会干什么", "请帮帮我",
          "你能帮我什么", "你可以做什么", "你可以帮我做什么"),
         ABILITIES["zh"]),
        (("谢谢", "谢谢你", "非常感谢", "多谢了", "太谢谢你了", "多谢", "感谢你", "好的，谢谢",
          "谢谢啦", "谢谢小安", "谢谢，小安",
          "非常谢谢你", "真谢谢你", "十分感谢"), "不客气。"),
        (("再见", "拜拜", "明天见", "下次再见", "回头见", "再会", "小安，再见", "再见，小安",
          "我走了，再见", "待会儿见", "一会儿见",
          "下次见", "以后见", "我要走了"), "再见，下次再聊。"),
        (("很高兴认识你", "认识你很高兴", "见到你很高兴", "很高兴见到你", "能认识你很高兴",
          "能见到你真高兴", "认识你真好", "真高兴认识你",
          "小安，很高兴认识你"), "我也很高兴认识你。"),
    ),
}  # fmt: skip

RECITALS: dict[str, Talk] = {
    "en": (
        (("tell me a poem", "say a poem", "recite a poem", "do you know a poem", "a poem please"),
         "The moon went out to walk the sea, the sea was calm, the wind was free, "
         "and every wave sang back to me."),
        (("tell me a short poem", "say a short poem", "recite a short poem", "a short poem please"),
         "A little rain, a little sun, and then the day is done."),
        (("tell me a story", "do you know a story", "read me a story", "a story please",
          "I want to hear a story"),
         "A fox found a red hat by the river. He wore it to the market, and every dog said good "
         "morning, sir."),
        (("tell me a short story", "do you know a short story", "a short story please",
          "read me a short story"),
         "A mouse lost her key. A bird found it. They had tea."),
        (("say a tongue twister", "tell me a tongue twister", "do you know a tongue twister",
          "a tongue twister please"),
         "Six silver snails slowly slide past seven sleeping sheep."),
        (("another tongue twister", "say another tongue twister", "one more tongue twister please",
          "a second tongue twister"),
         "Brown bears bake big blue bread before breakfast."),
    ),
    "zh": (
        (("念一首诗", "背一首诗", "给我念首诗", "来一首诗", "你会背诗吗"),
         "床前明月光，疑是地上霜。举头望明月，低头思故乡。"),
        (("再念一首诗", "再来一首诗", "背一首别的诗", "再背一首诗"),
         "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。"),
        (("讲个故事", "给我讲个故事", "来一个故事", "说个故事吧", "我想听故事"),
         "小老鼠丢了钥匙，小鸟帮她找到了。她们一起喝茶。"),
        (("说个绕口令", "来一个绕口令", "你会绕口令吗", "给我说个绕口令"),
         "四是四，十是十，十四是十四，四十是四十。"),
    ),
}  # fmt: skip

# Asks that nothing in the domain answers; {} is any word.
STRANGE: dict[str, tuple[str, ...]] = {
    "en": (
        "where did you put the {}", "why is the {} so {}", "can you order a {} for me",
        "I would like to {} my {}", "how much does a {} cost", "play some {} music",
        "who invented the {}", "tell me about the {} of {}", "turn off the {}",
        "call my {} right now", "what do you think of {}", "when does the {} open",
        "the {} and the {} are in the {}", "is there a {} near the {}", "do you like {} and {}",
        "remind me to buy a {}", "how do I fix a {}", "what happened to the {} yesterday",
        "please send the {} to my {}", "my {} is better than your {}",
    ),
    "zh": (
        "{}在哪里", "为什么{}这么贵", "帮我买一个{}", "你喜欢{}吗", "谁发明了{}", "给我讲讲{}",
        "关上{}",
        "{}多少钱", "昨天的{}怎么了", "我想要{}和{}", "{}什么时候开门", "请把{}给我的{}",
        "附近有没有{}",
        "怎么修理{}", "你觉得{}怎么样", "明天提醒我带{}",
    ),
}  # fmt: skip

# Other languages, spoken by espeak-ng's own voices: nothing the model could answer.
FOREIGN: dict[str, tuple[str, ...]] = {
    "de": ("Wo ist der Bahnhof?", "Das Wetter ist heute sehr schön.",
     "Ich hätte gern einen Kaffee."),
    "fr": ("Où est la gare?", "Il fait très beau aujourd'hui.", "Je voudrais un café."),
    "es": ("¿Dónde está la estación?", "Hoy hace muy buen tiempo.", "Quisiera un café con leche."),
    "it": ("Dove si trova la stazione?", "Oggi fa molto bello.", "Vorrei un caffè, per favore."),
    "pt": ("Onde fica a estação?", "Hoje o tempo está muito bom.", "Queria um café, por favor."),
    "pl": ("Gdzie jest dworzec?", "Dzisiaj jest bardzo ładna pogoda.", "Poproszę kawę z mlekiem."),
    "sv": ("Var ligger stationen?", "Det är mycket fint väder idag.", "Jag vill ha en kopp kaffe."),
    "tr": ("İstasyon nerede?", "Bugün hava çok güzel.", "Bir kahve istiyorum."),
    "ru": ("Где находится вокзал?", "Сегодня очень хорошая погода.", "Я хочу чашку кофе."),
    "fi": ("Missä on rautatieasema?", "Tänään on hyvin kaunis sää.", "Haluaisin kupin kahvia."),
}  # fmt: skip
NOISES: tuple[str, ...] = ("silence", "hiss", "hum", "clicks", "music", "babble")
