"""Common English words that are repeated, read aloud and strung into questions nobody can answer.

Data only. No two of them sound alike. Chosen by how often they come in the language model that
pocketsphinx brings along, whose dictionary pronounces every one.
"""

from antiphon.training import lexicon

_MORE = """
ability able above absolutely accept access accident according account achieve across act action
active activities activity actual actually add addition additional address admit adult advantage
advice affect afford afraid after afternoon again against age agency agent ago agree agreement ahead
aid air airport album alive allow almost alone along already alright also although always amazing
among amount angry animal annoying another answer anti any anybody anymore anyone anything anyway
anywhere apart apartment apparently appeal appear apply appreciate approach area argue argument arm
around art article artist aside ask assume attempt attention attitude audience authority available
average avoid aware away awesome awful babies back background bad bag balance ban band bank bar
barely base baseball basic basically basis basketball battle bay beat beautiful became because
become been before began begin behavior behind belief believe below benefit best bet better between
beyond big bigger biggest bike birth birthday bit black blame blind block blow board body border
born boss both bother bottom bought bowl brain brand break broke broken brought budget build built
bunch burn business businesses busy buy cable call calm came camp can candidate cannot capable
capacity capital captain carbon card care career careful carried carry case cash cast catch caught
cause center central century certain certainly challenge chance change channel character charge
cheap cheaper check chicken chief children choice choose chose christmas cities civil claim class
classes classic clean clear clearly click climate close closer clothes club coach coast code cold
collection college come comedy comment commercial commitment committed common community companies
company complete completely complex computer concept concern condition conference confidence
confident conflict confused connection consider constantly consumer contact content context continue
contract control cook cool copy core corner corporate correct cost could council count countries
county couple course court cover coverage crash crazy create credit crew crisis critical cross crowd
cry culture curious current currently customer cut cute dad daily damage danger dangerous dark data
date daughter day deal dear debate debt decade decent decide decision deep defense definitely
definition degree demand department depression deserve design desire despite determine develop
device did diet difference different difficult digital direct direction directly director dirty
disagree discuss discussion distance district does done double doubt down draw drink drive driver
drop dropped dry due duty each earlier early earn easier easily east eastern easy eat economic
economy edge edit education effect effective effort either eleventh else email emergency emissions
emotional empty end enemy energy enjoy enough ensure enter entire entirely episode equal equipment
era escape especially estate european even event ever every everybody everyday everyone everything
everywhere evidence exact exactly example excellent except exchange excited exciting excuse exercise
exist expect expensive experience explain extent extra extreme extremely face fact factor fail
failure fair fairly fake fall false familiar families famous fan fantastic far fashion fast faster
fat fault favor favorite fear feel feet fell fellow felt female few fewer fifth fight figure file
fill film final finally financial find fine finish firm first fit fix flat flight flu fly focus
follow food foot football force foreign forever forget forgot form former forward found foundation
fourth free freedom fresh friendly front fuel full fully fun fund funny further future gain game gas
gave gear general generally generation giant gift give given glad global goal goes golf gone good
goodness got gotten grab grade graduate grand great greater greatest grew ground group grow grown
growth guard guess guy gym had hair half hall handle hang happen happy hard harder hardly harm head
health healthy heard heat heavy held hello help helpful her here hero herself hide high higher
highest highly him himself history hit hobby hockey hold holiday home honest honestly hope hopefully
horrible hospital hot how however huge human humor hurt husband ice idea ignore image imagine impact
important impossible improve incident include income increase incredible incredibly indeed industry
influence info innocent inside instance instead insurance interest internet interview into invest
investment issue item itself job join joke judge jump justice keep kept kick kid kind know knowledge
known labour lack lady laid land language large larger largest last late lately later latest laugh
launch law lawyer lead leader leadership league learn least leave left leg legal less let level
library life light like likely limit line link list listen literally live loan local location long
longer look lose loss lost lot love low lower luck lucky machine mad made magazine main mainly
maintain major majority make male man manage management manager many marriage married marry mass
massive master match mate material math matter max maybe meal mean meant measure media medical
medicine meet member memory men mental mention mess message met metal middle might mile military
mind mine minimum minister minute miss mission mistake mix mobile mode model modern mom moment month
moral more most mostly mouth move movement movie much multiple museum must myself name nation
national natural nature near nearly neat necessary negative neither nervous net network never new
newspaper next nice night nobody none normal normally north northern note notice now nowhere number
obvious obviously odd off offensive offer officer official often oil old older once online only open
operation opinion opposite option order original other otherwise our ourselves outside over overall
own owner pack package page paid pain pair parent part particular parties partner party pass past
path patient pay per percent percentage perfect perfectly perhaps period person personal personally
pet phone photo physical pick piece place plan plane planned plant plastic play player please plenty
plus point policies policy pool poor pop popular population position positive possible possibly post
potential poverty power powerful practice prefer presence present press pressure pretty prevent
previous price primary prime private pro probably problem process produce product production
professor profile profit program progress project promise proof proper properly property protect
protection proud prove provide public pull purchase purpose push put quality quarter question quick
quickly quiet quit quite race raise ran random range rare rarely rate rather reach reaction ready
real reality realize really reason reasonable receive recent recently recession recognize recommend
record recovery reduce reference reform regardless region regular relatively release relevant remain
remember remove rent replace reply report require research respect respond response rest restaurant
result return review rich rid ride ridiculous right rise risk rock role rough round route row rule
run rush sad safe safety said salary sale same sat save saw say scale scary science score screen
search season seat second secret section sector secure security seem seen self sell send senior
sense sent sentence separate series serious seriously serve server service set several shall shame
shape share she shift shock shop short should show shown shut sick side sign silly similar simple
simply since single sir sit site situation size skill skin slightly slow slowly small smaller smart
smell smile social society software sold solid solution solve some somebody somehow someone
something somewhat somewhere soon sorry sort sound source south southern space speak special species
specific speech speed spend spent spirit split spoke spokesman sport spot spread staff stage stand
standard start state statement status stay step stick still stock stop stopped store stories storm
straight strange strategy strength stress strike strong stronger structure struggle stuck student
studies study stuff style sub subject success successful such suck sudden suddenly suggest suit
summer super supply support suppose sure surely surface surprise survey survive suspect sweet switch
system take taken talent talk tank tape target task taste taught teach team tech technology
television tell tend term terrible test text than thank theater their them themselves then theory
therefore these third those though thought thread threat through throughout throw ticket tight time
tiny tip title today together told tomorrow ton tonight took tool top topic total totally touch
tough tour toward town track trade traffic travel treat treatment trial tried trip trouble truck
true truly trust truth try turn twice type typical typically ultimately unable under understand
understood union unique unit universe unless unlikely until update upon upset use useful user usual
usually vacation value variety various vast vehicle version very victory video view vision visit
voice wage wait wake want warm waste watch way web website wedding week weekend weird welcome went
were west western whatever when whenever where whereas whether which while white who whoever whole
whose why wide wife will win wise wish within without women wonderful word work world worried worry
worse worst worth written wrong wrote year yesterday yet young younger yourself zone
"""

WORDS: tuple[str, ...] = (*lexicon.REPEAT_WORDS, *_MORE.split())
