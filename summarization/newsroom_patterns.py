"""The sentence patterns of the embedded newsroom: data only.

A kind of event holds pairs (sentence, highlight) for its salient sentences, and plain sentences for
everything else:

    lead, key, next       salient: each comes with the line that compresses it
    fact, quote, past     details, quotes and background, which no highlight draws on
    what, why             phrases of which an article takes one each

Slots: `chief` and `other` are people, `org` an organisation, `region` a place; they stand in
several sentences. `town`, `day`, `date`, `what`, `why` and the figures `n`, `m`, `few`, `big`,
`money`, `money2` and `pct` are key facts: they stand in salient sentences only. `k`, `age` and
`hour` are figures of the other sentences. No sentence or highlight begins with a slot for a name,
so that a name always follows a space and keeps its tokens.
"""

KINDS = {
    "storm": {
        "what": ("hailstorm", "blizzard", "windstorm", "thunderstorm", "tornado", "sandstorm"),
        "why": (
            "a burst dam",
            "fallen trees",
            "a broken power line",
            "flying roof tiles",
            "blocked drains",
            "a mudslide",
        ),
        "lead": (
            (
                "A violent {what} struck the town of {town} on {day}, leaving {n} families without "
                "power, Mayor {chief} said.",
                "A {what} leaves {n} families without power in {town}.",
            ),
            (
                "At least {n} homes were damaged on {day} when a {what} swept across {town}, "
                "according to Mayor {chief}.",
                "A {what} damages {n} homes in {town}.",
            ),
            (
                "Residents of {town} woke on {day} to find {n} cars crushed by a {what} that Mayor "
                "{chief} called the worst in memory.",
                "A {what} crushes {n} cars in {town}.",
            ),
        ),
        "key": (
            (
                "Most of the damage was caused by {why}, and repairs will cost about {money}.",
                "Repairs after {why} will cost {money}.",
            ),
            (
                "Engineers blamed {why} for the death of {m} farm animals near the river.",
                "Engineers blame {why} for the death of {m} animals.",
            ),
            (
                "Insurers expect to pay {money} to the {m} owners whose houses were ruined by "
                "{why}.",
                "Insurers expect to pay {money} to {m} owners.",
            ),
        ),
        "next": (
            (
                "Schools in the area will stay closed until {date}, the council decided.",
                "Schools will stay closed until {date}.",
            ),
            (
                "Power should return by {date}, once new cables have been laid.",
                "Power should return by {date}.",
            ),
        ),
        "fact": (
            "Forecaster {other} of the {org} weather office had warned of strong winds {k} hours "
            "earlier.",
            "Volunteers from {region} brought blankets, and Mayor {chief} thanked them in person.",
            "A shelter run by the {org} charity took in a couple and their {k} cats.",
            "Mayor {chief} spent the night in a command post with forecaster {other}.",
        ),
        "quote": (
            '"We have never seen the sky turn so dark so fast," Mayor {chief} said.',
            '"People should stay indoors and keep away from the windows," forecaster {other} said.',
            '"Our neighbors pulled together, and that is what counts," Mayor {chief} told '
            "reporters.",
        ),
        "past": (
            "The last storm of this kind in the valley was recorded {k} years ago, {other} noted.",
            "Warm air from the coast of {region} often feeds such storms in late summer.",
        ),
    },
    "election": {
        "what": (
            "mayor",
            "town clerk",
            "council leader",
            "treasurer",
            "sheriff",
            "head prosecutor",
        ),
        "why": (
            "free bus rides",
            "lower rents",
            "a new hospital",
            "cleaner rivers",
            "smaller classes",
            "a tax freeze",
        ),
        "lead": (
            (
                "Voters in {town} chose {chief} as their new {what} on {day}, giving the newcomer "
                "{pct} of the ballots.",
                "Voters in {town} choose {chief} as {what} with {pct} of the ballots.",
            ),
            (
                "The race for {what} of {town} ended on {day} with a victory for {chief}, who won "
                "by just {n} votes.",
                "Newcomer {chief} wins race for {what} of {town} by {n} votes.",
            ),
            (
                "A recount on {day} confirmed that {chief} will be the next {what} of {town}, with "
                "{pct} of the vote.",
                "A recount confirms {chief} as {what} of {town} with {pct}.",
            ),
        ),
        "key": (
            (
                "The winner had promised {why}, a plan that will cost {money} a year.",
                "The winner promised {why} at {money} a year.",
            ),
            (
                "Exit polls suggest that the pledge of {why} swayed {m} undecided voters.",
                "A pledge of {why} swayed {m} undecided voters.",
            ),
            (
                "Donors gave {money} to the campaign, most of them drawn by its promise of {why}.",
                "Donors gave {money} for the promise of {why}.",
            ),
        ),
        "next": (
            (
                "The oath of office will be taken on {date} in the old town hall.",
                "The oath will be taken on {date}.",
            ),
            (
                "Results become official on {date}, after the last postal votes are checked.",
                "Results become official on {date}.",
            ),
        ),
        "fact": (
            "Rival candidate {other} called {chief} to concede shortly after {hour}.",
            "Supporters of {other} waited for {k} hours in a hotel near the station.",
            "The {org} party had held the seat for {k} terms before {chief} came along.",
            "Analysts at the {org} party office said that {other} had lost ground in {region}.",
        ),
        "quote": (
            '"Tonight we begin a new chapter together," {chief} told a cheering crowd.',
            '"I wish my opponent well and I will be watching closely," {other} said.',
            '"Every single voice was heard in this campaign," {chief} said.',
        ),
        "past": (
            "Before entering politics, {chief} ran a small bakery in {region} for {k} years.",
            "Candidate {other}, aged {age}, had led in most of the early surveys.",
        ),
    },
    "trial": {
        "what": ("fraud", "bribery", "arson", "forgery", "smuggling", "blackmail"),
        "why": (
            "a hidden diary",
            "phone records",
            "a security video",
            "bank letters",
            "a torn receipt",
            "a secret tape",
        ),
        "lead": (
            (
                "A court in {town} on {day} sentenced banker {chief} to {n} months in prison for "
                "{what}.",
                "A court in {town} sentences banker {chief} to {n} months for {what}.",
            ),
            (
                "Jurors in {town} found banker {chief} guilty of {what} on {day} after {n} hours "
                "of debate.",
                "Jurors in {town} find banker {chief} guilty of {what}.",
            ),
            (
                "The {what} trial of banker {chief} ended in {town} on {day} with a fine of "
                "{money}.",
                "The {what} trial of {chief} ends in {town} with a fine of {money}.",
            ),
        ),
        "key": (
            (
                "The case turned on {why}, which showed that {m} clients had been cheated.",
                "The case turned on {why} about {m} cheated clients.",
            ),
            (
                "Prosecutors relied on {why} and on the words of {m} witnesses.",
                "Prosecutors relied on {why} and {m} witnesses.",
            ),
            (
                "Among the evidence was {why}, found by police in a locker with {m} gold coins.",
                "Police found {why} with {m} gold coins.",
            ),
        ),
        "next": (
            (
                "An appeal will be heard on {date}, the clerk of the court confirmed.",
                "An appeal will be heard on {date}.",
            ),
            (
                "The victims must file their claims before {date}.",
                "Victims must file claims before {date}.",
            ),
        ),
        "fact": (
            "Defense lawyer {other} asked for mercy because {chief} is {age} and in poor health.",
            "The {org} Bank, where {chief} had worked for {k} years, declined to comment.",
            "Lawyer {other} left by a side door shortly before {hour}.",
            "Relatives of {chief} wept as lawyer {other} read a short statement.",
        ),
        "quote": (
            '"My client trusted the wrong people," lawyer {other} told the court.',
            '"I am sorry for the pain that I have caused," {chief} said.',
            '"We will fight this decision to the very end," lawyer {other} said.',
        ),
        "past": (
            "Born in {region}, {chief} joined the {org} Bank as a trainee and rose quickly.",
            "The {org} Bank has changed its rules twice since the first arrests.",
        ),
    },
    "merger": {
        "what": ("battery", "bicycle", "software", "furniture", "chocolate", "paint"),
        "why": (
            "falling prices",
            "rising wages",
            "a weak currency",
            "new rivals",
            "high energy bills",
            "slow exports",
        ),
        "lead": (
            (
                "The {what} maker {org} agreed on {day} to buy a competitor in {town} for {money}.",
                "Deal for {money} lets {what} maker {org} buy a competitor in {town}.",
            ),
            (
                "Shares of the {what} group {org} jumped {pct} on {day} after it announced a "
                "merger with a firm from {town}.",
                "Shares of {what} group {org} jump {pct} after merger with firm from {town}.",
            ),
            (
                "In a surprise move on {day}, the {what} company {org} said it would pay {money} "
                "for a plant in {town}.",
                "Surprise move sees {what} company {org} pay {money} for a plant in {town}.",
            ),
        ),
        "key": (
            (
                "The two firms blamed {why} for a loss of {m} jobs that will follow the deal.",
                "The firms blame {why} for a loss of {m} jobs.",
            ),
            (
                "Managers hope to save {pct} of costs and to cope better with {why}.",
                "Managers hope to save {pct} and cope with {why}.",
            ),
            (
                "Because of {why}, the new group will close {m} shops within a year.",
                "The new group will close {m} shops because of {why}.",
            ),
        ),
        "next": (
            ("Regulators will rule on the plan by {date}.", "Regulators will rule by {date}."),
            (
                "Owners of the stock will vote on the offer on {date}.",
                "Owners of the stock will vote on {date}.",
            ),
        ),
        "fact": (
            "Chief executive {chief} will lead {org}, while founder {other} becomes its chairman.",
            "Talks between {chief} and founder {other} began {k} months ago on a train.",
            "Founder {other} still owns a stake in {org} and lives in {region}.",
            "Staff heard of the plan from {chief} in a short letter at {hour}.",
        ),
        "quote": (
            '"Together we are stronger than either of us alone," chief executive {chief} said.',
            '"It was not easy to let go of what I had built," founder {other} said.',
            '"Our customers will notice nothing but better service," {chief} told investors.',
        ),
        "past": (
            "Founder {other} started the firm in a garage in {region} with {k} workers.",
            "Before joining {org}, {chief} spent {k} years at a rival.",
        ),
    },
    "match": {
        "what": ("cup final", "league match", "derby", "friendly", "semifinal", "playoff"),
        "why": (
            "a late penalty",
            "a header",
            "an own goal",
            "a long free kick",
            "a clever lob",
            "a goalkeeper error",
        ),
        "lead": (
            (
                "Striker {chief} scored {few} goals as {town} won the {what} on {day} in front of "
                "{big} fans.",
                "Striker {chief} scores {few} goals as {town} wins {what}.",
            ),
            (
                "A crowd of {big} saw {town} win the {what} on {day}, thanks to {few} goals by "
                "striker {chief}.",
                "Crowd of {big} sees {town} win the {what}.",
            ),
            (
                "The players of {town} celebrated on {day} after {few} goals from striker {chief} "
                "decided the {what}.",
                "Players of {town} win {what} with {few} goals from {chief}.",
            ),
        ),
        "key": (
            (
                "The winner came from {why} near the end, and {m} guests had missed it by leaving "
                "early.",
                "The winner came from {why}, and {m} guests missed it.",
            ),
            (
                "Nobody had expected {why} to settle the game, which earned the club {money}.",
                "The game was settled by {why} and earned {money}.",
            ),
            (
                "It took {why} to break the deadlock, and a bonus of {money} was paid at once.",
                "A bonus of {money} was paid after {why}.",
            ),
        ),
        "next": (
            (
                "The team plays again on {date} against the champions.",
                "The team plays again on {date}.",
            ),
            ("Tickets for the next round go on sale on {date}.", "Tickets go on sale on {date}."),
        ),
        "fact": (
            "Coach {other} had left {chief} on the bench for {k} weeks with a sore knee.",
            "Visiting side {org} United hit the post {k} times before the break.",
            "Coach {other} hugged {chief} at the whistle.",
            "Fans of {org} United sang until {hour} and went home to {region}.",
        ),
        "quote": (
            '"I simply closed my eyes and hit the ball," {chief} said.',
            '"This team never stops believing," coach {other} said.',
            '"You dream of nights like this when you are a child," {chief} told reporters.',
        ),
        "past": (
            "At {age}, {chief} is one of the oldest players in the squad.",
            "Coach {other} once played for {org} United and still has a house in {region}.",
        ),
    },
    "discovery": {
        "what": ("temple", "shipwreck", "burial mound", "palace", "cave painting", "mosaic"),
        "why": (
            "a leaking pipe",
            "a lost dog",
            "a dry summer",
            "a drone survey",
            "an old map",
            "a road project",
        ),
        "lead": (
            (
                "Archaeologists led by {chief} announced on {day} that they had found a {what} "
                "near {town}, some {n} centuries old.",
                "A {what} some {n} centuries old is found near {town}.",
            ),
            (
                "A {what} that lay hidden for {n} centuries has come to light outside {town}, "
                "professor {chief} said on {day}.",
                "A {what} hidden for {n} centuries comes to light outside {town}.",
            ),
            (
                "Scientists working with professor {chief} in {town} unveiled a {what} on {day} "
                "that may be worth {money}.",
                "Scientists in {town} unveil a {what} worth {money}.",
            ),
        ),
        "key": (
            (
                "The find was made possible by {why}, which exposed {m} pieces of pottery.",
                "The find followed {why} that exposed {m} pieces of pottery.",
            ),
            (
                "It was {why} that led the team to the site, where {m} silver rings were buried.",
                "The team was led there by {why} and found {m} silver rings.",
            ),
            (
                "Thanks to {why}, the diggers also uncovered a chest with {m} bronze tools.",
                "Thanks to {why}, a chest with {m} bronze tools was uncovered.",
            ),
        ),
        "next": (
            ("The site will open to visitors on {date}.", "The site will open on {date}."),
            (
                "The objects will be shown in the national museum from {date}.",
                "The objects will be shown from {date}.",
            ),
        ),
        "fact": (
            "Student {other} was the first to see it and ran to wake professor {chief}.",
            "The {org} Institute paid for the dig, which lasted {k} weeks.",
            "Guards hired by the {org} Institute now watch the field day and night.",
            "Tests in a laboratory in {region} took student {other} another {k} days.",
        ),
        "quote": (
            '"My hands were shaking when I brushed the dust away," student {other} said.',
            '"This changes what we thought we knew about the past," professor {chief} said.',
            '"We always felt that something was waiting down there," {chief} added.',
        ),
        "past": (
            "Professor {chief}, aged {age}, has spent half a lifetime digging in {region}.",
            "The {org} Institute was founded by a rich collector and has {k} members.",
        ),
    },
    "fire": {
        "what": ("paper mill", "hotel", "warehouse", "toy factory", "bakery", "cinema"),
        "why": (
            "a faulty heater",
            "a dropped cigarette",
            "an overloaded socket",
            "a gas leak",
            "a spark from a saw",
            "a candle",
        ),
        "lead": (
            (
                "A fire destroyed a {what} in {town} on {day} and forced {n} people to flee, fire "
                "chief {chief} said.",
                "Fire destroys a {what} in {town} and forces {n} people to flee.",
            ),
            (
                "Flames tore through a {what} in the center of {town} on {day}, injuring {n} "
                "workers, fire chief {chief} reported.",
                "Flames in a {what} in {town} injure {n} workers.",
            ),
            (
                "Fire chief {chief} confirmed on {day} that {n} firefighters had saved a burning "
                "{what} in {town}.",
                "Crew of {n} firefighters saves a burning {what} in {town}.",
            ),
        ),
        "key": (
            (
                "Investigators traced the blaze to {why} and put the damage at {money}.",
                "Blaze is traced to {why} with damage of {money}.",
            ),
            (
                "The cause was {why}, according to an early report that lists {m} violations.",
                "The cause was {why}, and a report lists {m} violations.",
            ),
            (
                "Experts believe that {why} started it, and {m} tons of goods were lost.",
                "Experts believe {why} started it and {m} tons were lost.",
            ),
        ),
        "next": (
            (
                "The building will be torn down on {date}.",
                "The building will be torn down on {date}.",
            ),
            ("The road past the ruin is to reopen on {date}.", "The road is to reopen on {date}."),
        ),
        "fact": (
            "Night guard {other} raised the alarm at {hour} and was praised by chief {chief}.",
            "The {org} Company, which owns the site, has offered hotel rooms to its neighbors.",
            "Guard {other} carried {k} computers out before the roof fell in.",
            "Crews from {region} joined chief {chief} with {k} extra engines.",
        ),
        "quote": (
            '"It was a wall of heat, and we could hardly breathe," guard {other} said.',
            '"My crew did everything that could be done," fire chief {chief} said.',
            '"I only thought about getting everybody out," guard {other} recalled.',
        ),
        "past": (
            "Inspectors had visited the {org} Company {k} times without finding a fault.",
            "Fire chief {chief}, aged {age}, had planned to retire this spring.",
        ),
    },
    "strike": {
        "what": ("bus drivers", "nurses", "teachers", "dock workers", "pilots", "miners"),
        "why": (
            "unpaid overtime",
            "unsafe tools",
            "night shifts",
            "cuts to pensions",
            "shorter breaks",
            "broken promises",
        ),
        "lead": (
            (
                "About {n} {what} walked off the job in {town} on {day} to demand a raise of "
                "{pct}.",
                "About {n} {what} in {town} demand a raise of {pct}.",
            ),
            (
                "A strike by {n} {what} brought {town} to a halt on {day}, union leader {chief} "
                "said.",
                "A strike by {n} {what} brings {town} to a halt.",
            ),
            (
                "Union leader {chief} called {n} {what} out on strike in {town} on {day}, the "
                "first such protest in years.",
                "Union leader {chief} calls {n} {what} out on strike in {town}.",
            ),
        ),
        "key": (
            (
                "They are angry about {why}, which they say has cost each of them {money2}.",
                "They say {why} cost each of them {money2}.",
            ),
            (
                "The dispute began over {why}, and so far it has cost the city {money}.",
                "A dispute over {why} has cost the city {money}.",
            ),
            (
                "The employers promised to end {why} and offered a bonus of {money2}.",
                "The employers promise to end {why} and offer {money2}.",
            ),
        ),
        "next": (
            ("Talks are due to resume on {date} with a mediator.", "Talks resume on {date}."),
            ("The union will hold another vote on {date}.", "The union will vote on {date}."),
        ),
        "fact": (
            "Union leader {chief} met manager {other} of {org} for {k} hours without result.",
            "Manager {other} said that {org} had no more money to give.",
            "Outside the gates of {org}, {chief} served soup at {hour}.",
            "A rally in {region} drew families, a brass band and {k} dogs.",
        ),
        "quote": (
            '"We love our work, but we cannot live on thanks," union leader {chief} said.',
            '"Our door is open and the coffee is hot," manager {other} said.',
            '"Nobody goes on strike for fun," {chief} told the crowd.',
        ),
        "past": (
            "Manager {other} took over at {org} {k} years ago after a similar conflict.",
            "The father of {chief} led a walkout in {region} a generation ago.",
        ),
    },
    "rescue": {
        "what": ("hikers", "divers", "sailors", "skiers", "campers", "students"),
        "why": (
            "a snapped rope",
            "thick fog",
            "a sudden flood",
            "a dead radio",
            "a rock slide",
            "a wrong turn",
        ),
        "lead": (
            (
                "Rescuers found {few} missing {what} alive in the hills above {town} on {day}, {n} "
                "hours after they vanished.",
                "Rescuers find {few} missing {what} alive above {town} after {n} hours.",
            ),
            (
                "A helicopter lifted {few} {what} to safety near {town} on {day} after a search of "
                "{n} hours led by captain {chief}.",
                "A helicopter lifts {few} {what} to safety near {town}.",
            ),
            (
                "The search for {few} {what} ended happily in {town} on {day}, captain {chief} "
                "told a crowd of {n}.",
                "The search for {few} {what} ends happily in {town}.",
            ),
        ),
        "key": (
            (
                "The group had been trapped by {why} and lived on {m} grams of sugar.",
                "The group was trapped by {why} and lived on {m} grams of sugar.",
            ),
            (
                "They got into trouble because of {why} at a height of {m} meters.",
                "They met {why} at a height of {m} meters.",
            ),
            (
                "After {why} cut them off, they walked {m} steps to reach a hut.",
                "They walked {m} steps after {why} cut them off.",
            ),
        ),
        "next": (
            (
                "The trail will remain shut until {date}.",
                "The trail will remain shut until {date}.",
            ),
            (
                "All of them should leave the hospital by {date}.",
                "All should leave the hospital by {date}.",
            ),
        ),
        "fact": (
            "Captain {chief} set out from {region} with {k} dogs and a sled.",
            "The youngest, {other}, aged {age}, had a broken wrist and a big smile.",
            "The {org} Mountain Club lent captain {chief} maps and lamps.",
            "Doctors kept {other} overnight and let friends in at {hour}.",
        ),
        "quote": (
            '"We sang every song we knew to stay awake," {other} said.',
            '"You never give up while there is a chance," captain {chief} said.',
            '"The first thing I want now is a hot bath," {other} told reporters.',
        ),
        "past": (
            "The {org} Mountain Club had put up warning signs {k} months before.",
            "Captain {chief} has taken part in rescues in {region} since leaving the army.",
        ),
    },
    "festival": {
        "what": ("jazz", "kite", "cheese", "lantern", "puppet", "flower"),
        "why": (
            "free entry",
            "mild weather",
            "a famous singer",
            "a night parade",
            "cheap trains",
            "a giant cake",
        ),
        "lead": (
            (
                "The {what} festival in {town} drew a record {big} visitors on {day}, organizer "
                "{chief} said.",
                "The {what} festival in {town} draws a record {big} visitors.",
            ),
            (
                "Organizers opened the {what} festival of {town} on {day} with {n} artists and a "
                "speech by {chief}.",
                "The {what} festival of {town} opens with {n} artists.",
            ),
            (
                "Streets in {town} were packed on {day} as {big} guests came to the {what} "
                "festival run by {chief}.",
                "Streets in {town} are packed as {big} guests come to {what} festival.",
            ),
        ),
        "key": (
            (
                "The success was put down to {why}, and local shops took in {money}.",
                "Success is put down to {why} and shops take in {money}.",
            ),
            (
                "Thanks to {why}, sales of food rose by {pct} within a single night.",
                "Thanks to {why}, sales of food rise by {pct}.",
            ),
            (
                "The budget of {money} was mostly spent on {why}, the accounts show.",
                "The budget of {money} was mostly spent on {why}.",
            ),
        ),
        "next": (
            (
                "The last show takes place on {date} in the park.",
                "The last show takes place on {date}.",
            ),
            ("Next year the event will begin on {date}.", "Next year the event begins on {date}."),
        ),
        "fact": (
            "Painter {other} decorated the main stage together with {chief} in {k} days.",
            "The sponsor, {org} Radio, broadcast the best moments until {hour}.",
            "A choir from {region} invited {other} to join in for {k} songs.",
            "Engineers of {org} Radio repaired a speaker while {chief} told jokes.",
        ),
        "quote": (
            '"For a few days everybody here is a friend," organizer {chief} said.',
            '"I have never painted anything that large," painter {other} said.',
            '"We started with nothing but a borrowed tent," {chief} recalled.',
        ),
        "past": (
            "Organizer {chief}, aged {age}, used to teach music at a school in {region}.",
            "Painter {other} won the prize of {org} Radio {k} years ago.",
        ),
    },
    "outbreak": {
        "what": (
            "measles",
            "a stomach virus",
            "a rare fever",
            "food poisoning",
            "whooping cough",
            "a skin disease",
        ),
        "why": (
            "dirty water",
            "spoiled milk",
            "sick birds",
            "raw oysters",
            "a broken freezer",
            "unwashed salad",
        ),
        "lead": (
            (
                "Doctors in {town} were treating {n} people for {what} on {day}, health officer "
                "{chief} said.",
                "Doctors in {town} treat {n} people for {what}.",
            ),
            (
                "An outbreak of {what} has sent {n} children to hospital in {town}, health officer "
                "{chief} announced on {day}.",
                "Outbreak of {what} sends {n} children to hospital in {town}.",
            ),
            (
                "Health officer {chief} warned the people of {town} on {day} after {n} cases of "
                "{what} were counted.",
                "People of {town} are warned after {n} cases of {what}.",
            ),
        ),
        "key": (
            (
                "Laboratory tests point to {why} as the source, and {m} samples were positive.",
                "Tests of {m} samples point to {why} as the source.",
            ),
            (
                "The source was {why}, and the state will spend {money} on vaccines.",
                "The source was {why}, and the state will spend {money}.",
            ),
            (
                "Officials linked the illness to {why} served at a wedding with {m} guests.",
                "Officials link it to {why} at a wedding with {m} guests.",
            ),
        ),
        "next": (
            ("Public pools are to stay shut until {date}.", "Public pools stay shut until {date}."),
            ("A new clinic will start work on {date}.", "A new clinic will start work on {date}."),
        ),
        "fact": (
            "Nurse {other} worked for {k} days in a row before help came from {region}.",
            "The {org} Hospital set up beds in its library, and {chief} brought flowers.",
            "Officer {chief} drank a glass of tap water with nurse {other} at {hour}.",
            "A hotline at the {org} Hospital answered calls in {k} languages.",
        ),
        "quote": (
            '"Please wash your hands and do not panic," health officer {chief} said.',
            '"The patients are tired, but they are getting better," nurse {other} said.',
            '"We acted as soon as we saw the first signs," {chief} told parents.',
        ),
        "past": (
            "Nurse {other}, aged {age}, trained in {region} and speaks softly.",
            "The {org} Hospital has asked for more staff for {k} years, {chief} admitted.",
        ),
    },
    "theft": {
        "what": ("violin", "necklace", "painting", "silver cup", "rare stamp", "crown"),
        "why": (
            "an open window",
            "a stolen key",
            "a false uniform",
            "a power cut",
            "a tunnel",
            "a copied badge",
        ),
        "lead": (
            (
                "Thieves stole a {what} worth {money} from a museum in {town} on {day}, detective "
                "{chief} said.",
                "Thieves steal a {what} worth {money} in {town}.",
            ),
            (
                "A {what} valued at {money} disappeared from a villa in {town} on {day}, according "
                "to detective {chief}.",
                "A {what} valued at {money} disappears from a villa in {town}.",
            ),
            (
                "Police in {town} recovered a {what} on {day} that had been missing for {n} days, "
                "detective {chief} said.",
                "Police in {town} recover a {what} missing for {n} days.",
            ),
        ),
        "key": (
            (
                "The gang got in with the help of {why} and needed only {m} seconds.",
                "The gang used {why} and needed {m} seconds.",
            ),
            (
                "A camera showed {why} at work, and {m} tips have reached the police.",
                "A camera showed {why}, and {m} tips reached police.",
            ),
            (
                "Officers think that {why} was used and offered a reward of {money2}.",
                "Officers suspect {why} and offer {money2}.",
            ),
        ),
        "next": (
            (
                "A suspect will appear in court on {date}.",
                "A suspect will appear in court on {date}.",
            ),
            (
                "The gallery hopes to reopen on {date} with new locks.",
                "The gallery hopes to reopen on {date}.",
            ),
        ),
        "fact": (
            "Detective {chief} questioned curator {other} for {k} hours at the station.",
            "The {org} Foundation, which had lent the piece, sent its own expert to help {chief}.",
            "Curator {other} noticed the empty case at {hour} and fainted.",
            "A van found in {region} held {k} masks and a half-eaten pizza.",
        ),
        "quote": (
            '"They knew exactly what they were looking for," detective {chief} said.',
            '"It feels as if someone had taken a child from us," curator {other} said.',
            '"Sooner or later one of them will make a mistake," {chief} promised.',
        ),
        "past": (
            "The {org} Foundation bought it {k} years ago from a family in {region}.",
            "Curator {other}, aged {age}, had asked for better alarms more than once.",
        ),
    },
    "launch": {
        "what": (
            "weather satellite",
            "cargo capsule",
            "moon lander",
            "space telescope",
            "radar probe",
            "solar sail",
        ),
        "why": (
            "a stuck valve",
            "strong winds",
            "a fuel leak",
            "a software bug",
            "a loose bolt",
            "a cracked seal",
        ),
        "lead": (
            (
                "A rocket carrying a {what} lifted off from {town} on {day} and reached a height "
                "of {n} kilometers.",
                "A rocket from {town} carries a {what} to {n} kilometers.",
            ),
            (
                "Engineers in {town} lost contact with a {what} on {day}, just {n} seconds after "
                "launch, director {chief} said.",
                "Engineers in {town} lose contact with a {what} after {n} seconds.",
            ),
            (
                "The {what} built in {town} sent home {n} pictures on {day}, to the delight of "
                "director {chief}.",
                "The {what} built in {town} sends home {n} pictures.",
            ),
        ),
        "key": (
            (
                "The start had been delayed by {why}, which added {money} to the bill.",
                "A delay caused by {why} added {money}.",
            ),
            (
                "A report names {why} as the main risk and lists {m} smaller ones.",
                "A report names {why} as the main risk.",
            ),
            (
                "Technicians fixed {why} with only {m} minutes left on the clock.",
                "Technicians fixed {why} with {m} minutes left.",
            ),
        ),
        "next": (
            (
                "The craft should reach its orbit on {date}.",
                "The craft should reach orbit on {date}.",
            ),
            ("A second flight is planned for {date}.", "A second flight is planned for {date}."),
        ),
        "fact": (
            "Flight controller {other} and director {chief} shared a pot of tea at {hour}.",
            "The {org} Agency streamed the flight to {k} schools in {region}.",
            "Controller {other} keeps a lucky coin from the first mission of the {org} Agency.",
            "Director {chief} watched from a hill with {k} retired engineers.",
        ),
        "quote": (
            '"All the screens turned green and then we could breathe," controller {other} said.',
            '"Space is hard, and it does not forgive," director {chief} said.',
            '"My mother still thinks that I repair radios," {other} joked.',
        ),
        "past": (
            "Director {chief} joined the {org} Agency {k} years ago as a welder.",
            "Controller {other}, aged {age}, grew up in {region} without electric light.",
        ),
    },
    "crash": {
        "what": ("freight train", "school bus", "ferry", "milk truck", "tram", "small plane"),
        "why": (
            "black ice",
            "a worn brake",
            "a sleeping driver",
            "a bent rail",
            "low sun",
            "a stray cow",
        ),
        "lead": (
            (
                "A {what} crashed near {town} on {day} with {n} passengers and crew on board, "
                "inspector {chief} said.",
                "A {what} crashes near {town} with {n} on board.",
            ),
            (
                "At least {n} people were hurt on {day} when a {what} hit a bridge in {town}, "
                "according to inspector {chief}.",
                "At least {n} people are hurt as a {what} hits a bridge in {town}.",
            ),
            (
                "Traffic in {town} stood still for {n} minutes on {day} after a {what} overturned, "
                "inspector {chief} reported.",
                "Traffic in {town} stands still after a {what} overturns.",
            ),
        ),
        "key": (
            (
                "The accident was caused by {why}, and {m} liters of oil were spilled.",
                "The accident was caused by {why} and spilled {m} liters of oil.",
            ),
            (
                "Data from the vehicle point to {why} at a speed of {m} kilometers an hour.",
                "Data point to {why} at {m} kilometers an hour.",
            ),
            (
                "Lawyers for the victims blame {why} and want {money} from the owner.",
                "Lawyers blame {why} and want {money}.",
            ),
        ),
        "next": (
            ("The line will be open again on {date}.", "The line will be open again on {date}."),
            ("A memorial service is set for {date}.", "A memorial service is set for {date}."),
        ),
        "fact": (
            "Farmer {other} heard the noise at {hour} and broke a window with a spade.",
            "The operator, {org} Transport, flew inspector {chief} in from {region}.",
            "Inspector {chief} measured the skid marks with farmer {other} for {k} hours.",
            "Workers of {org} Transport served tea from the back of {k} vans.",
        ),
        "quote": (
            '"There was a bang, and then it was terribly quiet," farmer {other} said.',
            '"We must learn from this and we will," inspector {chief} said.',
            '"I just did what anybody would have done," {other} insisted.',
        ),
        "past": (
            "A safety review of {org} Transport was finished {k} weeks before by {chief}.",
            "Farmer {other}, aged {age}, has lived beside the road since leaving {region}.",
        ),
    },
}

FILLER = (
    "Local radio interrupted its program several times during the day.",
    "A small crowd gathered at the scene and waited for more news.",
    "The streets around the main square were calm again by {hour}.",
    "Several shops put up signs that thanked {chief} for the effort.",
    "A spokesman for {org} did not return a call seeking comment.",
    "Many people in {region} followed the events on their phones.",
    "The news spread quickly and soon reached relatives of {other}.",
    "A book about the whole affair is said to be in the works.",
    "Newspapers in {region} printed a large photograph of {chief}.",
    "Children at a nearby school drew pictures for {other}.",
    "The weather was mild, and a light breeze came from the lake.",
    "Later that evening {chief} and {other} were seen leaving together.",
    "Reporters had to wait outside for {k} hours before anyone spoke.",
    "A website set up by {org} went offline for a short while.",
    "One old man said it reminded him of his youth in {region}.",
    "Messages of support came from friends of {chief} across the country.",
    "A baker handed out warm bread to everyone who had come.",
    "It was not clear whether {org} would take part in the review.",
    "The story has been the talk of every cafe for {k} days.",
    "Photographs that {other} took were shared {k} thousand times.",
)
